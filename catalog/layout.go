package catalog

import (
	"fmt"
	"regexp"
	"strings"
)

// The layout of the keys; docs/format.md describes it for readers who have
// only an S3 client.
const (
	repositoryKey  = "hawser.json"
	clustersPrefix = "clusters/"
	probesPrefix   = "probes/" // objects that measure the store's clock
)

var uidPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,62}$`)

func clusterPrefix(clusterUID string) string { return clustersPrefix + clusterUID + "/" }

func bundleKey(clusterUID string, id PointID) string {
	return clusterPrefix(clusterUID) + "points/" + string(id) + "/bundle"
}

func commitKey(clusterUID string, id PointID) string {
	return clusterPrefix(clusterUID) + "points/" + string(id) + "/commit"
}

func journalKey(clusterUID string, id PointID) string {
	return clusterPrefix(clusterUID) + "journal/" + string(id)
}

// settledSuffix ends the key that says: nothing of this journal entry is left
// to do. It cannot be part of a point id.
const settledSuffix = ".settled"

func settledKey(clusterUID string, id PointID) string {
	return journalKey(clusterUID, id) + settledSuffix
}

func tombstoneKey(clusterUID string, id PointID) string {
	return clusterPrefix(clusterUID) + "tombstones/" + string(id)
}

// verdictSuffix ends the key of the verdict on a buried point.
const verdictSuffix = ".verdict"

func verdictKey(clusterUID string, id PointID) string {
	return tombstoneKey(clusterUID, id) + verdictSuffix
}

// Presence says which objects the catalog holds for one point.
type Presence struct {
	ClusterUID string
	Point      PointID
	Journal    bool // a run began it
	Settled    bool // that run left nothing to do
	Bundle     bool
	Commit     bool // it was committed or abandoned
	Tombstone  bool // it is to be removed, or was
	Removing   bool // its removal has begun: it cannot be restored any more
}

// note adds what key proves to the presences that are gathered in seen. A key
// that is not of this layout is left alone: it may be a later format's.
func note(seen map[string]*Presence, key string) {
	parts := strings.Split(key, "/")
	if len(parts) < 4 || parts[0]+"/" != clustersPrefix {
		return
	}
	cluster, kind, name := parts[1], parts[2], parts[3]
	id, suffix := name, ""
	if dot := strings.IndexByte(name, '.'); dot >= 0 {
		id, suffix = name[:dot], name[dot:]
	}
	if !pointPattern.MatchString(id) {
		return
	}
	var there func(p *Presence) *bool
	switch strings.Join(append([]string{kind, "ID" + suffix}, parts[4:]...), "/") {
	case "journal/ID":
		there = func(p *Presence) *bool { return &p.Journal }
	case "journal/ID" + settledSuffix:
		there = func(p *Presence) *bool { return &p.Settled }
	case "tombstones/ID":
		there = func(p *Presence) *bool { return &p.Tombstone }
	case "tombstones/ID" + verdictSuffix:
		there = func(p *Presence) *bool { return &p.Removing }
	case "points/ID/bundle":
		there = func(p *Presence) *bool { return &p.Bundle }
	case "points/ID/commit":
		there = func(p *Presence) *bool { return &p.Commit }
	default:
		return
	}
	at := cluster + "/" + id
	if seen[at] == nil {
		seen[at] = &Presence{ClusterUID: cluster, Point: PointID(id)}
	}
	*there(seen[at]) = true
}

func validateClusterUID(uid string) error {
	if !uidPattern.MatchString(uid) {
		return fmt.Errorf("cluster uid %q is not a Kubernetes uid", uid)
	}
	return nil
}
