package node

import (
	"net/netip"
	"strings"
	"testing"
)

func TestSlotsHaveTheirOwnAddresses(t *testing.T) {
	a, b := &slot{number: 0}, &slot{number: 255}
	if a.subnet().Overlaps(b.subnet()) {
		t.Errorf("%s and %s overlap", a.subnet(), b.subnet())
	}
	for _, s := range []*slot{a, b} {
		n := s.network()
		for _, address := range []string{n.Host + "/32", n.Node + "/32", n.Pods} {
			prefix, err := netip.ParsePrefix(address)
			if err != nil || !s.subnet().Overlaps(prefix) || prefix != prefix.Masked() {
				t.Errorf("%s is no part of %s: %v", address, s.subnet(), err)
			}
		}
		if len(n.Link) > 15 {
			t.Errorf("%s is too long for an interface", n.Link)
		}
	}
}

func TestOverlaps(t *testing.T) {
	subnet := (&slot{number: 7}).subnet()
	for _, test := range []struct {
		used string
		want bool
	}{
		{"127.0.0.0/8", false},
		{"10.240.7.1/32", true},
		{"10.240.8.1/32", false},
		{"10.240.0.0/16", true},
		{"10.0.0.0/8", false},
		{"0.0.0.0/0", false},
		{"::1/128", false},
	} {
		if got := overlaps(subnet, []netip.Prefix{netip.MustParsePrefix(test.used)}); got != test.want {
			t.Errorf("%s and %s: %t", subnet, test.used, got)
		}
	}
}

func TestFoldersThatANodeWouldNotSeeAreRefused(t *testing.T) {
	for dir, hidden := range map[string]bool{
		"/tmp/x": false, "/var/lib": true, "/var/lib/jenkins/x": true, "/var/library": false, "/run/user/0": true, "": false,
	} {
		if err := visible(dir); (err != nil) != hidden || (hidden && !strings.Contains(err.Error(), dir)) {
			t.Errorf("%q: %v", dir, err)
		}
	}
}
