package infisical

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// The ways in which a server's URL is refused. None repeats the URL: it may have a password in it.
var (
	errURL      = errors.New("the host URL is not of the form https://host[:port][/prefix]")
	errUserInfo = errors.New("the host URL has a user name or password in it")
	errQuery    = errors.New("the host URL has a query or a fragment")
	errHTTP     = errors.New("the host URL is not https, and the operator runs without --allow-http")
	errASCII    = errors.New("the host name has characters other than letters, digits, dots and hyphens; write other alphabets in punycode")
	errNumeric  = errors.New("the host name ends in a number but is no IP address")
	errAddress  = errors.New("link-local, multicast and unspecified addresses are refused")
)

// address is where a server is: normalised, so that equal servers have equal addresses.
type address struct {
	scheme, host, port string // host without brackets, lower case; port empty when it is the scheme's own
	prefix             string // of all paths, without a trailing slash or /api
}

// origin identifies the host that rate limits and backoff belong to.
func (a address) origin() string { return a.scheme + "://" + a.hostPort() }

func (a address) hostPort() string {
	host := a.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if a.port != "" {
		host += ":" + a.port
	}
	return host
}

func (a address) base() string { return a.origin() + a.prefix }

// upgrades says whether b is the same host on the standard port of https where a is on that of http.
func (a address) upgrades(b address) bool {
	return a.scheme == "http" && b.scheme == "https" && a.host == b.host && a.port == "" && b.port == ""
}

func parseAddress(raw string) (address, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil, u.Opaque != "":
		return address{}, errURL
	case u.User != nil:
		return address{}, errUserInfo
	case u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return address{}, errQuery
	}
	return addressOf(u)
}

// addressOf looks at scheme, host and path only, so that it serves redirect targets too.
func addressOf(u *url.URL) (address, error) {
	a := address{scheme: u.Scheme, host: strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port: u.Port()}
	if a.scheme != "http" && a.scheme != "https" || a.host == "" {
		return address{}, errURL
	}
	if a.port != "" {
		n, err := strconv.ParseUint(a.port, 10, 16)
		if err != nil || n == 0 {
			return address{}, errURL
		}
		a.port = strconv.FormatUint(n, 10)
	}
	if a.scheme == "https" && a.port == "443" || a.scheme == "http" && a.port == "80" {
		a.port = ""
	}
	if err := checkHostName(a.host); err != nil {
		return address{}, err
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	if strings.HasSuffix(path, "/api") {
		path = strings.TrimRight(strings.TrimSuffix(path, "/api"), "/")
	}
	a.prefix = path
	return a, nil
}

// checkHostName refuses literal addresses that no server lives at. Addresses that a name resolves to are checked when
// they are dialed; through a proxy, this check of the literal is the only one.
func checkHostName(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil {
		return checkIP(ip)
	}
	for _, r := range host {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_", r) {
			return errASCII
		}
	}
	// 2852039166, 0xA9FEA9FE and 169.254.43518 are one more way to write an address, for some resolvers and proxies.
	if last := host[strings.LastIndexByte(host, '.')+1:]; last == "" || last[0] >= '0' && last[0] <= '9' {
		return errNumeric
	}
	return nil
}

func checkIP(ip netip.Addr) error {
	ip = ip.Unmap()
	if ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() || ip.Zone() != "" {
		return errAddress
	}
	return nil
}

// permit applies --allow-http and --allowed-hosts.
func (o *Options) permit(a address) error {
	if a.scheme == "http" && !o.AllowHTTP {
		return errHTTP
	}
	if len(o.AllowedHosts) == 0 {
		return nil
	}
	for _, pattern := range o.AllowedHosts {
		if a.matches(strings.ToLower(strings.TrimSpace(pattern))) {
			return nil
		}
	}
	return fmt.Errorf("host %s is not among the operator's --allowed-hosts", a.origin())
}

func (a address) matches(pattern string) bool {
	host := pattern
	if h, port, err := net.SplitHostPort(pattern); err == nil {
		if port != a.portNumber() {
			return false
		}
		host = h
	}
	host = strings.Trim(host, "[]")
	if domain, ok := strings.CutPrefix(host, "*"); ok {
		return strings.HasPrefix(domain, ".") && strings.HasSuffix(a.host, domain) && len(a.host) > len(domain)
	}
	return host == a.host
}

func (a address) portNumber() string {
	switch {
	case a.port != "":
		return a.port
	case a.scheme == "http":
		return "80"
	}
	return "443"
}
