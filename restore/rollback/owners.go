package rollback

import (
	"fmt"

	"hawser.dev/hawser/restore"
)

// checkOwners refuses to set a disk aside, or to put one back, that another
// cluster owns or that a migration has: the claim would leave what is elsewhere,
// or two clusters would write to one disk.
func (p *planner) checkOwners() {
	for _, change := range p.plan.record.Claims {
		p.checkOwner(change.Claim, "the disk that it is on", change.From)
		p.checkOwner(change.Claim, "the disk that it would get back", change.To)
	}
}

func (p *planner) checkOwner(claim, what string, d *Disk) {
	if d == nil {
		return
	}
	if owner, held := p.observed.Held(d.Driver, d.Handle); held {
		p.refuseClaim(claim, fmt.Sprintf("%s, %s, is owned by %s", what, d.Handle, owner), restore.OwnerRemedy(owner))
	}
}
