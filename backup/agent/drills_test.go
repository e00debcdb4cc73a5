package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"hawser.dev/hawser/catalog"
)

// practice is a Driller that notes its drills, and an Observer of what came of
// them.
type practice struct {
	Blind
	takes time.Duration

	mu   sync.Mutex
	held []string // "plan at time"
	told []string
}

func (p *practice) Drill(ctx context.Context, plan Plan) (catalog.Drill, error) {
	p.mu.Lock()
	p.held = append(p.held, plan.Name+" at "+time.Now().UTC().Format("02 15:04"))
	p.mu.Unlock()
	select {
	case <-ctx.Done():
		time.Sleep(time.Minute) // it cleans up
		return catalog.Drill{}, ctx.Err()
	case <-time.After(p.takes):
	}
	if plan.Drill.Image == "" {
		return catalog.Drill{}, errors.New("the API server is away")
	}
	return catalog.Drill{ID: catalog.NewDrillID(plan.Name, time.Now()), Plan: plan.Name, Outcome: catalog.DrillPassed, CheckedAfter: p.takes.Seconds()}, nil
}

func (p *practice) Drilled(end DrillEnd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("%s %s", end.Plan, end.Result())
	if end.Recalled {
		text += " recalled"
	}
	p.told = append(p.told, text)
}

func (p *practice) wantHeld(t *testing.T, what string, want ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if diff := cmp.Diff(want, p.held); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
	p.held = nil
}

func (p *practice) wantTold(t *testing.T, want ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if diff := cmp.Diff(want, p.told); diff != "" {
		t.Errorf("what is told (-want +got):\n%s", diff)
	}
	p.told = nil
}

// practised is a plan that is backed up by hand, and practised by a schedule.
func practised(t *testing.T, name, schedule string) Plan {
	t.Helper()
	parsed, err := ParseSchedule(schedule, time.UTC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return Plan{Name: name, Drill: DrillPlan{Schedule: parsed, Image: "redis:7.0"}}
}

func (w *world) practising(p *practice, plans ...Plan) *Agent {
	a := w.agent("one", true, plans...)
	a.Drill, a.Observer = p, p
	return a
}

func TestDrillsAreHeldOneAtATimeWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it begins at midnight
		w, p := newWorld(t), &practice{takes: 90 * time.Minute}
		paused := practised(t, "paused", "0 * * * *")
		paused.Paused = true
		a := w.practising(p, practised(t, "a", "30 */6 * * *"), practised(t, "b", "30 */6 * * *"), practised(t, "never", "0 0 29 2 *"), paused)
		stop := w.start(a)
		time.Sleep(29 * time.Minute)
		synctest.Wait()
		p.wantHeld(t, "before the time", []string(nil)...)
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		p.wantHeld(t, "in the first hours", "a at 01 00:30", "b at 01 02:00")
		p.wantTold(t, "a passed", "b passed")

		// A change of the schedule starts nothing early.
		a.SetPlans([]Plan{practised(t, "a", "0 */4 * * *")})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		p.wantHeld(t, "after the change", []string(nil)...)
		time.Sleep(time.Hour)
		synctest.Wait()
		p.wantHeld(t, "at the new time", "a at 01 08:00")

		// Its end waits for the drill to clean up, which is no result.
		before := time.Now()
		stop()
		if waited := time.Since(before); waited < time.Minute {
			t.Errorf("the agent ended after %s, before its drill had cleaned up", waited)
		}
		p.wantTold(t, []string(nil)...)
	})
}

func TestADrillThatCannotBeHeldIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := newWorld(t), &practice{takes: time.Minute}
		plan := practised(t, "a", "30 * * * *")
		plan.Drill.Image = ""
		stop := w.start(w.practising(p, plan))
		time.Sleep(time.Hour)
		stop()
		p.wantTold(t, "a error")
	})
}

// A schedule that changes while an agent leads catches nothing up, though the plan
// was practised before.
func TestAChangedScheduleCatchesNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := newWorld(t), &practice{takes: time.Minute}
		d := catalog.Drill{ID: catalog.NewDrillID("a", time.Now()), Cluster: catalog.Cluster{UID: clusterUID}, Plan: "a", Started: time.Now(), Ended: time.Now(), Outcome: catalog.DrillPassed}
		if err := w.catalog.RecordDrill(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6*time.Hour + 10*time.Minute)
		a := w.practising(p, practised(t, "a", "0 0 * * *"))
		stop := w.start(a)
		time.Sleep(time.Minute)
		a.SetPlans([]Plan{practised(t, "a", "0 */6 * * *")})
		time.Sleep(time.Hour)
		p.wantHeld(t, "after the change", []string(nil)...)
		time.Sleep(5 * time.Hour)
		stop()
		p.wantHeld(t, "at its next time", "a at 01 12:00")
	})
}

// What was missed within the last hour is caught up by the next leader, if the
// plan was ever practised.
func TestTheNextLeaderCatchesADrillUp(t *testing.T) {
	for _, c := range []struct {
		late time.Duration
		want []string
	}{{10 * time.Minute, []string{"a at 02 00:10"}}, {2 * time.Hour, nil}} {
		synctest.Test(t, func(t *testing.T) {
			w, p := newWorld(t), &practice{takes: time.Minute}
			for hours, outcome := range []catalog.DrillOutcome{catalog.DrillPassed, catalog.DrillFailed} {
				started := time.Now().Add(time.Duration(hours) * time.Hour)
				d := catalog.Drill{ID: catalog.NewDrillID("a", started), Cluster: catalog.Cluster{UID: clusterUID}, Plan: "a", Started: started, Ended: started, Outcome: outcome}
				if err := w.catalog.RecordDrill(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(24*time.Hour + c.late)
			stop := w.start(w.practising(p, practised(t, "a", "0 0 * * *"), practised(t, "new", "0 0 * * *")))
			time.Sleep(30 * time.Minute)
			stop()
			p.wantHeld(t, "after an outage", c.want...)
			told := []string{"a passed recalled", "a failed recalled"}
			if c.want != nil {
				told = append(told, "a passed")
			}
			p.wantTold(t, told...)
		})
	}
}
