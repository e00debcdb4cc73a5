package drill

import "testing"

func TestADrillIsUnderWayWhileItsNamespacesChange(t *testing.T) {
	was := sign{alive: map[string]string{"a": "3", "b": "3"}}
	for name, c := range map[string]struct {
		is    map[string]string
		still bool
	}{
		"nothing has changed":            {map[string]string{"a": "3", "b": "3"}, true},
		"one was renewed":                {map[string]string{"a": "3", "b": "4"}, false},
		"one was removed, by a clean-up": {map[string]string{"b": "3"}, true},
		"all were removed":               {map[string]string{}, true},
		"one is new":                     {map[string]string{"a": "3", "b": "3", "c": "0"}, false},
	} {
		if got := (sign{alive: c.is}).still(was); got != c.still {
			t.Errorf("%s: still is %v, want %v", name, got, c.still)
		}
	}
}
