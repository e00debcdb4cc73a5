package seed

// Row is a part of the chapter and the tests that show what Hawser makes of it.
type Row struct {
	Part  string
	Tests []string // of package e2e/seed; a subtest is TEST/SUBTEST
}

// Rows are all parts, in the order of the chapter; docs/seed.md says more.
var Rows = []Row{
	{"(a) MariaDB Pod with a claim", []string{"TestTheChapter/mariadb-pod"}},
	{"(b) MariaDB Deployment, Recreate", []string{"TestTheChapter/mariadb-deployment"}},
	{"(c) MariaDB StatefulSet", []string{"TestTheChapter/mariadb-statefulset"}},
	{"(d) Redis StatefulSet, one replica", []string{"TestTheChapter/redis-statefulset"}},
	{"(e) Redis StatefulSet, three with roles", []string{"TestTheChapter/redis-roles"}},
	{"(e) only the primary's disk", []string{"TestTheChapter/only-the-primary"}},
	{"(e) into a second cluster, the first gone", []string{"TestIntoASecondClusterAfterTheFirstIsGone"}},
	{"(f) generic ephemeral volume", []string{"TestTheChapter/not-covered"}},
	{"(g) emptyDir and ConfigMap volumes", []string{"TestTheChapter/not-covered"}},
	{"(h) class with Retain, and with Delete", []string{"TestTheChapter/class-policies"}},
	{"hooks: consistent under a write load", []string{"TestALockHeldDuringTheCutMakesPointsConsistent"}},
	{"hooks: post runs after Ctrl-C", []string{"TestThePostHookRunsAfterCtrlC"}},
	{"the agent in the cluster, as the chart says", []string{"TestTheAgentInTheCluster"}},
	{"labels, ordinals, sizes, block, subPath …", []string{"TestControlsSurvive"}},
	{"Redis, three with roles: rolled back, undone", []string{"TestServersAreRolledBackAndBackAgain/redis-roles"}},
	{"MariaDB StatefulSet: rolled back, undone", []string{"TestServersAreRolledBackAndBackAgain/mariadb-statefulset"}},
	{"MariaDB Deployment: rolled back, undone", []string{"TestServersAreRolledBackAndBackAgain/mariadb-deployment"}},
	{"Redis, three with roles: moved, and back", []string{"TestServersMoveToAnotherClusterAndBack/redis-roles"}},
	{"MariaDB StatefulSet: moved, and back", []string{"TestServersMoveToAnotherClusterAndBack/mariadb-statefulset"}},
	{"Redis: moved by a Job, and back", []string{"TestAJobMigrates"}},
	{"drills: the data is checked, damage shows", []string{"TestADrillChecksTheData"}},
}
