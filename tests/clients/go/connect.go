package main

import (
	"context"
	"os"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
)

type clients struct {
	loadBalancing *gophercloud.ServiceClient
	terraform     *terraform
}

// connect logs both clients in, each by its own code.
func connect(ctx context.Context) (*clients, error) {
	options, err := openstack.AuthOptionsFromEnv()
	if err != nil {
		return nil, err
	}
	cloud, err := openstack.AuthenticatedClient(ctx, options)
	if err != nil {
		return nil, err
	}
	loadBalancing, err := openstack.NewLoadBalancerV2(cloud, gophercloud.EndpointOpts{Region: os.Getenv("OS_REGION_NAME")})
	if err != nil {
		return nil, err
	}
	terraform, err := newTerraform(ctx)
	return &clients{loadBalancing, terraform}, err
}
