package template

import (
	"reflect"
	"strings"
	"time"
	_ "time/tzdata" // the zones, for machines that have none

	"github.com/DataDog/datadog-agent/pkg/template/text"
)

// dates are sprig's functions about time that say in which zone. Its own take the present for a date that is none, and UTC
// for a zone that is unknown. UTC is the same everywhere. Of other zones every machine knows the name, as the program brings them with
// it; but Go takes the files of the machine first (ZONEINFO, /usr/share/zoneinfo), and whoever has older ones may find other rules.
func dates() template.FuncMap {
	day := func(date any, zone string) (string, error) { return dateInZone(time.DateOnly, date, zone) }
	return template.FuncMap{"dateInZone": dateInZone, "date_in_zone": dateInZone, "htmlDateInZone": day}
}

func dateInZone(layout string, date any, zone string) (string, error) {
	if kindOf(date) != kindInt {
		return "", because("the date is a number of seconds since 1970")
	}
	location, err := time.LoadLocation(zone)
	if err != nil || location == time.Local || ofMachine(zone) {
		return "", because("there is no such time zone")
	}
	return time.Unix(toInt64(reflect.ValueOf(date)), 0).In(location).Format(layout), nil
}

// ofMachine says whether a name stands for whatever zone the machine is in, or is one that not every machine has.
func ofMachine(zone string) bool {
	switch dir, _, _ := strings.Cut(zone, "/"); dir {
	case "localtime", "posixrules", "posix", "right", "Factory":
		return true
	}
	return false
}
