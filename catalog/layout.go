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
	cluster, kind, rest := parts[1], parts[2], strings.Join(parts[4:], "/")
	id, settled := strings.CutSuffix(parts[3], settledSuffix)
	if !pointPattern.MatchString(id) {
		return
	}
	present := func() *Presence {
		at := cluster + "/" + id
		if seen[at] == nil {
			seen[at] = &Presence{ClusterUID: cluster, Point: PointID(id)}
		}
		return seen[at]
	}
	switch {
	case kind == "journal" && rest == "" && settled:
		present().Settled = true
	case kind == "journal" && rest == "":
		present().Journal = true
	case kind == "tombstones" && rest == "" && !settled:
		present().Tombstone = true
	case kind == "points" && rest == "bundle" && !settled:
		present().Bundle = true
	case kind == "points" && rest == "commit" && !settled:
		present().Commit = true
	}
}

func validateClusterUID(uid string) error {
	if !uidPattern.MatchString(uid) {
		return fmt.Errorf("cluster uid %q is not a Kubernetes uid", uid)
	}
	return nil
}
