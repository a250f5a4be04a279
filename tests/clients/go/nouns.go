package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/loadbalancer/v2/amphorae"
	"github.com/gophercloud/gophercloud/v2/openstack/loadbalancer/v2/flavorprofiles"
	"github.com/gophercloud/gophercloud/v2/openstack/loadbalancer/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/loadbalancer/v2/l7policies"
	"github.com/gophercloud/gophercloud/v2/openstack/loadbalancer/v2/listeners"
	"github.com/gophercloud/gophercloud/v2/openstack/loadbalancer/v2/loadbalancers"
	"github.com/gophercloud/gophercloud/v2/openstack/loadbalancer/v2/monitors"
	"github.com/gophercloud/gophercloud/v2/openstack/loadbalancer/v2/pools"
	"github.com/gophercloud/gophercloud/v2/openstack/loadbalancer/v2/providers"
	"github.com/gophercloud/gophercloud/v2/openstack/loadbalancer/v2/quotas"
	"github.com/gophercloud/gophercloud/v2/pagination"
)

type call func(context.Context, *gophercloud.ServiceClient, request) (any, error)

// calls are all that gophercloud can do with a noun of load balancing.
var calls = map[string]map[string]call{
	"loadbalancer": {
		"create": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o loadbalancers.CreateOpts) (any, error) { return loadbalancers.Create(ctx, c, o).Extract() })
		},
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return loadbalancers.Get(ctx, c, r.ID).Extract()
		},
		"update": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o loadbalancers.UpdateOpts) (any, error) { return loadbalancers.Update(ctx, c, r.ID, o).Extract() })
		},
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, _ request) (any, error) {
			return listed(ctx, loadbalancers.List(c, nil), loadbalancers.ExtractLoadBalancers)
		},
		"delete": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, loadbalancers.Delete(ctx, c, r.ID, loadbalancers.DeleteOpts{Cascade: true}).ExtractErr()
		},
		"statuses": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return loadbalancers.GetStatuses(ctx, c, r.ID).Extract()
		},
		"stats": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return loadbalancers.GetStats(ctx, c, r.ID).Extract()
		},
		"failover": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, loadbalancers.Failover(ctx, c, r.ID).ExtractErr()
		},
	},
	"listener": {
		"create": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o listeners.CreateOpts) (any, error) { return listeners.Create(ctx, c, o).Extract() })
		},
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return listeners.Get(ctx, c, r.ID).Extract()
		},
		"update": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o listeners.UpdateOpts) (any, error) { return listeners.Update(ctx, c, r.ID, o).Extract() })
		},
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, _ request) (any, error) {
			return listed(ctx, listeners.List(c, nil), listeners.ExtractListeners)
		},
		"delete": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, listeners.Delete(ctx, c, r.ID).ExtractErr()
		},
		"stats": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return listeners.GetStats(ctx, c, r.ID).Extract()
		},
	},
	"pool": {
		"create": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o pools.CreateOpts) (any, error) { return pools.Create(ctx, c, o).Extract() })
		},
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return pools.Get(ctx, c, r.ID).Extract()
		},
		"update": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o pools.UpdateOpts) (any, error) { return pools.Update(ctx, c, r.ID, o).Extract() })
		},
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, _ request) (any, error) {
			return listed(ctx, pools.List(c, nil), pools.ExtractPools)
		},
		"delete": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, pools.Delete(ctx, c, r.ID).ExtractErr()
		},
	},
	"member": {
		"create": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o pools.CreateMemberOpts) (any, error) { return pools.CreateMember(ctx, c, r.Parent, o).Extract() })
		},
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return pools.GetMember(ctx, c, r.Parent, r.ID).Extract()
		},
		"update": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o pools.UpdateMemberOpts) (any, error) {
				return pools.UpdateMember(ctx, c, r.Parent, r.ID, o).Extract()
			})
		},
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return listed(ctx, pools.ListMembers(c, r.Parent, nil), pools.ExtractMembers)
		},
		"delete": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, pools.DeleteMember(ctx, c, r.Parent, r.ID).ExtractErr()
		},
		"batch": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o []pools.BatchUpdateMemberOpts) (any, error) {
				return nil, pools.BatchUpdateMembers(ctx, c, r.Parent, o).ExtractErr()
			})
		},
	},
	"healthmonitor": {
		"create": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o monitors.CreateOpts) (any, error) { return monitors.Create(ctx, c, o).Extract() })
		},
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return monitors.Get(ctx, c, r.ID).Extract()
		},
		"update": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o monitors.UpdateOpts) (any, error) { return monitors.Update(ctx, c, r.ID, o).Extract() })
		},
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, _ request) (any, error) {
			return listed(ctx, monitors.List(c, nil), monitors.ExtractMonitors)
		},
		"delete": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, monitors.Delete(ctx, c, r.ID).ExtractErr()
		},
	},
	"l7policy": {
		"create": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o l7policies.CreateOpts) (any, error) { return l7policies.Create(ctx, c, o).Extract() })
		},
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return l7policies.Get(ctx, c, r.ID).Extract()
		},
		"update": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o l7policies.UpdateOpts) (any, error) { return l7policies.Update(ctx, c, r.ID, o).Extract() })
		},
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, _ request) (any, error) {
			return listed(ctx, l7policies.List(c, nil), l7policies.ExtractL7Policies)
		},
		"delete": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, l7policies.Delete(ctx, c, r.ID).ExtractErr()
		},
	},
	"rule": {
		"create": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o l7policies.CreateRuleOpts) (any, error) {
				return l7policies.CreateRule(ctx, c, r.Parent, o).Extract()
			})
		},
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return l7policies.GetRule(ctx, c, r.Parent, r.ID).Extract()
		},
		"update": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o l7policies.UpdateRuleOpts) (any, error) {
				return l7policies.UpdateRule(ctx, c, r.Parent, r.ID, o).Extract()
			})
		},
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return listed(ctx, l7policies.ListRules(c, r.Parent, nil), l7policies.ExtractRules)
		},
		"delete": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, l7policies.DeleteRule(ctx, c, r.Parent, r.ID).ExtractErr()
		},
	},
	"amphora": {
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return amphorae.Get(ctx, c, r.ID).Extract()
		},
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, _ request) (any, error) {
			return listed(ctx, amphorae.List(c, nil), amphorae.ExtractAmphorae)
		},
		"failover": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, amphorae.Failover(ctx, c, r.ID).ExtractErr()
		},
	},
	"flavorprofile": {
		"create": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o flavorprofiles.CreateOpts) (any, error) { return flavorprofiles.Create(ctx, c, o).Extract() })
		},
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return flavorprofiles.Get(ctx, c, r.ID).Extract()
		},
		"update": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o flavorprofiles.UpdateOpts) (any, error) {
				return flavorprofiles.Update(ctx, c, r.ID, o).Extract()
			})
		},
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, _ request) (any, error) {
			return listed(ctx, flavorprofiles.List(c, nil), flavorprofiles.ExtractFlavorProfiles)
		},
		"delete": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, flavorprofiles.Delete(ctx, c, r.ID).ExtractErr()
		},
	},
	"flavor": {
		"create": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o flavors.CreateOpts) (any, error) { return flavors.Create(ctx, c, o).Extract() })
		},
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return flavors.Get(ctx, c, r.ID).Extract()
		},
		"update": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o flavors.UpdateOpts) (any, error) { return flavors.Update(ctx, c, r.ID, o).Extract() })
		},
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, _ request) (any, error) {
			return listed(ctx, flavors.List(c, nil), flavors.ExtractFlavors)
		},
		"delete": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return nil, flavors.Delete(ctx, c, r.ID).ExtractErr()
		},
	},
	"quota": {
		"get": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return quotas.Get(ctx, c, r.ID).Extract()
		},
		"update": func(ctx context.Context, c *gophercloud.ServiceClient, r request) (any, error) {
			return made(r, func(o quotas.UpdateOpts) (any, error) { return quotas.Update(ctx, c, r.ID, o).Extract() })
		},
	},
	"provider": {
		"list": func(ctx context.Context, c *gophercloud.ServiceClient, _ request) (any, error) {
			return listed(ctx, providers.List(c, nil), providers.ExtractProviders)
		},
	},
}

func (c *clients) call(ctx context.Context, asked request) (any, error) {
	do, known := calls[asked.Noun][asked.Do]
	if !known {
		return nil, fmt.Errorf("gophercloud can't %q a %q", asked.Do, asked.Noun)
	}
	return do(ctx, c.loadBalancing, asked)
}

// made reads a client's options from the request, and hands them on.
func made[O any](asked request, do func(O) (any, error)) (any, error) {
	var options O
	if err := json.Unmarshal(asked.Fields, &options); err != nil {
		return nil, err
	}
	return do(options)
}

// listed reads a list to the end of its last page.
func listed[T any](ctx context.Context, pager pagination.Pager, extract func(pagination.Page) ([]T, error)) (any, error) {
	page, err := pager.AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return extract(page)
}
