package template

import (
	"reflect"
	"text/template"
	"time"
)

// dates are sprig's functions about time that say in which zone. Its own take the present for a date that is none, and UTC
// for a zone that is unknown. The zones are those that Go finds on the machine: UTC is everywhere.
func dates() template.FuncMap {
	day := func(date any, zone string) (string, error) { return dateInZone(time.DateOnly, date, zone) }
	return template.FuncMap{"dateInZone": dateInZone, "date_in_zone": dateInZone, "htmlDateInZone": day}
}

func dateInZone(layout string, date any, zone string) (string, error) {
	if kindOf(date) != kindInt {
		return "", because("the date is a number of seconds since 1970")
	}
	location, err := time.LoadLocation(zone)
	if err != nil || location == time.Local {
		return "", because("there is no such time zone")
	}
	return time.Unix(toInt64(reflect.ValueOf(date)), 0).In(location).Format(layout), nil
}
