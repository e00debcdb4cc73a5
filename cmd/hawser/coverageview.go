package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"hawser.dev/hawser/backup"
	"hawser.dev/hawser/catalog"
)

// coverageSums count the claims.
type coverageSums struct {
	Claims      int                        `json:"claims"`
	Covered     int                        `json:"covered"`
	NotCovered  map[catalog.SkipReason]int `json:"notCovered"`
	RPO         map[backup.Promise]int     `json:"rpo"`         // of those that are covered
	Restorable  int                        `json:"restorable"`  // from a point, covered or not
	Unprotected int                        `json:"unprotected"` // covered; the disk goes with the claim
}

func (r *coverageReport) sums() coverageSums {
	s := coverageSums{Claims: len(r.claims), NotCovered: map[catalog.SkipReason]int{}, RPO: map[backup.Promise]int{}}
	for i := range r.claims {
		c := &r.claims[i]
		if c.Newest != nil {
			s.Restorable++
		}
		if !c.Covered() {
			s.NotCovered[c.Reason]++
			continue
		}
		s.Covered++
		s.RPO[c.Promise()]++
		if !c.Protected() {
			s.Unprotected++
		}
	}
	return s
}

// coveredClaim is a claim in JSON and YAML.
type coveredClaim struct {
	Namespace string               `json:"namespace"`
	Name      string               `json:"name"`
	Covered   bool                 `json:"covered"`
	Plans     []planPromise        `json:"plans"`
	Promise   backup.Promise       `json:"promise"` // the worst of the plans'
	Reason    catalog.SkipReason   `json:"reason,omitempty"`
	Why       string               `json:"why,omitempty"`
	Volume    string               `json:"persistentVolume,omitempty"`
	Reclaim   string               `json:"reclaimPolicy,omitempty"`
	Driver    string               `json:"driver,omitempty"`
	Handle    catalog.VolumeHandle `json:"volumeHandle,omitempty"`
	Point     catalog.PointID      `json:"point,omitempty"`
	Data      *time.Time           `json:"data,omitempty"` // the moment the data is of
	Age       *int64               `json:"ageSeconds,omitempty"`
	Snapshot  *bool                `json:"snapshot,omitempty"` // false: the point relies on the disk itself
}

type planPromise struct {
	Plan    string         `json:"plan"`
	RPO     string         `json:"rpo,omitempty"`
	Promise backup.Promise `json:"promise"`
	Drilled *time.Time     `json:"drilled,omitempty"` // the end of the plan's newest drill that passed
}

func (r *coverageReport) coveredClaim(c backup.ClaimCoverage) coveredClaim {
	claim := coveredClaim{
		Namespace: c.Claim.Namespace, Name: c.Claim.Name, Covered: c.Covered(), Plans: []planPromise{}, Promise: c.Promise(), Reason: c.Reason, Why: c.Why,
		Volume: c.Volume, Reclaim: string(c.Reclaim), Driver: c.Disk.Driver, Handle: c.Disk.Handle,
	}
	for _, p := range c.Plans {
		promise := planPromise{Plan: p.Plan, Promise: p.Promise}
		if p.RPO > 0 {
			promise.RPO = p.RPO.String()
		}
		if d, found := r.drills[p.Plan]; found {
			promise.Drilled = &d.Ended
		}
		claim.Plans = append(claim.Plans, promise)
	}
	if c.Newest != nil {
		age := int64(c.Age.Seconds())
		claim.Point, claim.Data, claim.Age, claim.Snapshot = c.Newest.Point, &c.Newest.Data, &age, &c.Newest.Snapshot
	}
	return claim
}

func (r *coverageReport) view() view {
	claims := []coveredClaim{} // prints as [], not null
	for _, c := range r.claims {
		claims = append(claims, r.coveredClaim(c))
	}
	return view{
		value: struct {
			Claims  []coveredClaim `json:"claims"`
			Sums    coverageSums   `json:"sums"`
			Reading backup.Reading `json:"reading"`
		}{claims, r.sums(), r.reading},
		human: func(w io.Writer, wide bool) error {
			if len(r.claims) > 0 {
				if err := r.table(wide).write(w); err != nil {
					return err
				}
				fmt.Fprintln(w)
			}
			return r.printSums(w)
		},
	}
}

func (r *coverageReport) table(wide bool) table {
	t := table{header: []string{"NAMESPACE", "CLAIM", "PLANS", "AGE", "RPO", "RECLAIM", "WHY"}}
	if wide {
		t.header = append(t.header, "DRILLED", "POINT", "VOLUME", "DRIVER", "DISK")
	}
	for _, c := range r.claims {
		var plans []string
		for _, p := range c.Plans {
			plans = append(plans, p.Plan)
		}
		age, point := "", ""
		if c.Newest != nil {
			age, point = duration.HumanDuration(c.Age), string(c.Newest.Point)
			if !c.Newest.Snapshot {
				age += " disk"
			}
		}
		why := c.Why
		if c.Reason != "" {
			why = "not covered: " + why
		}
		row := []string{c.Claim.Namespace, c.Claim.Name, strings.Join(plans, ","), age, promiseText(&c), string(c.Reclaim), why}
		if wide {
			row = append(row, r.drilled(&c), point, c.Volume, c.Disk.Driver, string(c.Disk.Handle))
		}
		t.add(row...)
	}
	return t
}

// promiseText shows the worst promise, with the shortest RPO that it is of.
func promiseText(c *backup.ClaimCoverage) string {
	worst := c.Promise()
	if worst == backup.PromiseNone {
		return ""
	}
	of := slices.DeleteFunc(slices.Clone(c.Plans), func(p backup.PlanPromise) bool { return p.Promise != worst })
	shortest := slices.MinFunc(of, func(a, b backup.PlanPromise) int { return cmp.Compare(a.RPO, b.RPO) })
	return string(worst) + " " + duration.HumanDuration(shortest.RPO)
}

func (r *coverageReport) printSums(w io.Writer) error {
	s := r.sums()
	fmt.Fprintf(w, "%s: %d covered, %d not", plural(s.Claims, "claim"), s.Covered, s.Claims-s.Covered)
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(s.NotCovered)) {
		parts = append(parts, fmt.Sprintf("%d %s", s.NotCovered[reason], reason))
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, " (%s)", strings.Join(parts, ", "))
	}
	fmt.Fprintf(w, ".\nRPO: %d met, %d broken, %d unknown, %d without one.", s.RPO[backup.PromiseMet], s.RPO[backup.PromiseBroken], s.RPO[backup.PromiseUnknown], s.RPO[backup.PromiseNone])
	if s.Unprotected > 0 {
		fmt.Fprintf(w, "\nNot Retain: the volumes of %s that plans take; such a disk goes with its claim.", plural(s.Unprotected, "claim"))
	}
	_, err := fmt.Fprintf(w, "\nOpened %d of %s.\n", r.reading.Read, plural(r.reading.Points, "point"))
	return err
}

// drilled is when a plan of the claim was last practised with success; "" for
// never.
func (r *coverageReport) drilled(c *backup.ClaimCoverage) string {
	var newest time.Time
	for _, p := range c.Plans {
		if d, found := r.drills[p.Plan]; found && d.Ended.After(newest) {
			newest = d.Ended
		}
	}
	if newest.IsZero() {
		return ""
	}
	return duration.HumanDuration(r.now.Sub(newest)) + " ago"
}
