package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	provider "github.com/terraform-provider-openstack/terraform-provider-openstack/v3/openstack"
)

// terraform asks the provider what Terraform's core asks it, in its protocol (plugin protocol 5), without a process in between.
type terraform struct {
	provider  tfprotov5.ProviderServer
	resources map[string]*tfprotov5.Schema
	states    map[string]state // by the names that the test gave to resources
}

type state struct {
	value   *tfprotov5.DynamicValue
	private []byte
}

func newTerraform(ctx context.Context) (*terraform, error) {
	server := schema.NewGRPCProviderServer(provider.Provider())
	known, err := server.GetProviderSchema(ctx, &tfprotov5.GetProviderSchemaRequest{})
	if err != nil {
		return nil, err
	}
	config, err := configuration(known.Provider, nil)
	if err != nil {
		return nil, err
	}
	prepared, err := server.PrepareProviderConfig(ctx, &tfprotov5.PrepareProviderConfigRequest{Config: config})
	if err == nil {
		err = failure(prepared.Diagnostics)
	}
	if err != nil {
		return nil, err
	}
	configured, err := server.ConfigureProvider(ctx, &tfprotov5.ConfigureProviderRequest{TerraformVersion: "1.9.0", Config: prepared.PreparedConfig})
	if err == nil {
		err = failure(configured.Diagnostics)
	}
	return &terraform{server, known.ResourceSchemas, map[string]state{}}, err
}

// answer brings one resource to its plan as `terraform apply` does, reads it again, and plans once more: what would change then is in
// `changes`. Without a plan the resource is destroyed; `do: import` reads it anew by its id alone.
func (t *terraform) answer(ctx context.Context, asked request) map[string]any {
	known, there := t.resources[asked.Terraform]
	if !there {
		return map[string]any{"error": fmt.Sprintf("the provider has no %q", asked.Terraform)}
	}
	var found, changes any
	var err error
	switch {
	case asked.Do == "import":
		found, err = t.imported(ctx, known, asked)
	case asked.Plan == nil:
		_, err = t.change(ctx, known, asked, nullOf(known))
	default:
		found, changes, err = t.bring(ctx, known, asked)
	}
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return map[string]any{"state": found, "changes": changes}
}

func (t *terraform) bring(ctx context.Context, known *tfprotov5.Schema, asked request) (any, any, error) {
	config, err := configuration(known, asked.Plan)
	if err != nil {
		return nil, nil, err
	}
	valid, err := t.provider.ValidateResourceTypeConfig(ctx, &tfprotov5.ValidateResourceTypeConfigRequest{TypeName: asked.Terraform, Config: config})
	if err == nil {
		err = failure(valid.Diagnostics)
	}
	if err != nil {
		return nil, nil, err
	}
	if _, err := t.change(ctx, known, asked, config); err != nil {
		return nil, nil, err
	}
	found, err := t.refreshed(ctx, known, asked)
	if err != nil {
		return nil, nil, err
	}
	planned, err := t.plan(ctx, known, asked, config)
	if err != nil {
		return nil, nil, err
	}
	would, err := plain(known, planned.PlannedState)
	return found, differing(found, would), err
}

// change plans and applies, and keeps the new state.
func (t *terraform) change(ctx context.Context, known *tfprotov5.Schema, asked request, config *tfprotov5.DynamicValue) (any, error) {
	planned, err := t.plan(ctx, known, asked, config)
	if err != nil {
		return nil, err
	}
	before := t.before(known, asked)
	if len(planned.RequiresReplace) > 0 && asked.Do != "replace" && before.private != nil {
		return nil, fmt.Errorf("the plan would destroy the resource and make it anew: %v", planned.RequiresReplace)
	}
	applied, err := t.provider.ApplyResourceChange(ctx, &tfprotov5.ApplyResourceChangeRequest{
		TypeName: asked.Terraform, PriorState: before.value, PlannedState: planned.PlannedState, Config: config, PlannedPrivate: planned.PlannedPrivate,
	})
	if err == nil {
		err = failure(applied.Diagnostics)
	}
	if err != nil {
		return nil, err
	}
	if asked.Plan == nil {
		delete(t.states, asked.Name)
		return nil, nil
	}
	t.states[asked.Name] = state{applied.NewState, applied.Private}
	return plain(known, applied.NewState)
}

func (t *terraform) plan(
	ctx context.Context, known *tfprotov5.Schema, asked request, config *tfprotov5.DynamicValue,
) (*tfprotov5.PlanResourceChangeResponse, error) {
	before := t.before(known, asked)
	proposed := config
	if asked.Plan != nil {
		var err error
		if proposed, err = proposal(known, before.value, asked.Plan); err != nil {
			return nil, err
		}
	}
	planned, err := t.provider.PlanResourceChange(ctx, &tfprotov5.PlanResourceChangeRequest{
		TypeName: asked.Terraform, PriorState: before.value, ProposedNewState: proposed, Config: config, PriorPrivate: before.private,
	})
	if err == nil {
		err = failure(planned.Diagnostics)
	}
	return planned, err
}

func (t *terraform) refreshed(ctx context.Context, known *tfprotov5.Schema, asked request) (any, error) {
	before := t.before(known, asked)
	read, err := t.provider.ReadResource(ctx, &tfprotov5.ReadResourceRequest{TypeName: asked.Terraform, CurrentState: before.value, Private: before.private})
	if err == nil {
		err = failure(read.Diagnostics)
	}
	if err != nil {
		return nil, err
	}
	t.states[asked.Name] = state{read.NewState, read.Private}
	return plain(known, read.NewState)
}

func (t *terraform) imported(ctx context.Context, known *tfprotov5.Schema, asked request) (any, error) {
	found, err := t.provider.ImportResourceState(ctx, &tfprotov5.ImportResourceStateRequest{TypeName: asked.Terraform, ID: asked.ID})
	if err == nil {
		err = failure(found.Diagnostics)
	}
	if err != nil {
		return nil, err
	}
	one := found.ImportedResources[0]
	t.states[asked.Name] = state{one.State, one.Private}
	return t.refreshed(ctx, known, asked)
}

func (t *terraform) before(known *tfprotov5.Schema, asked request) state {
	if kept, there := t.states[asked.Name]; there {
		return kept
	}
	return state{nullOf(known), nil}
}

// configuration is a plan as Terraform's core would hand it over: what is not named is null, and a block that is not there an empty list.
func configuration(known *tfprotov5.Schema, plan map[string]any) (*tfprotov5.DynamicValue, error) {
	return encoded(known, completed(known.Block, plan))
}

func completed(block *tfprotov5.SchemaBlock, plan map[string]any) map[string]any {
	whole := map[string]any{}
	for _, attribute := range block.Attributes {
		whole[attribute.Name] = plan[attribute.Name]
	}
	for _, nested := range block.BlockTypes {
		items := []any{}
		given, _ := plan[nested.TypeName].([]any)
		for _, item := range given {
			items = append(items, completed(nested.Block, item.(map[string]any)))
		}
		whole[nested.TypeName] = items
		if nested.Nesting == tfprotov5.SchemaNestedBlockNestingModeSingle {
			whole[nested.TypeName] = nil
		}
	}
	return whole
}

// proposal is the plan with what only the cloud knows taken from the state before.
func proposal(known *tfprotov5.Schema, before *tfprotov5.DynamicValue, plan map[string]any) (*tfprotov5.DynamicValue, error) {
	prior, err := plain(known, before)
	if err != nil {
		return nil, err
	}
	wanted := completed(known.Block, plan)
	if prior, there := prior.(map[string]any); there {
		for _, attribute := range known.Block.Attributes {
			if attribute.Computed && wanted[attribute.Name] == nil {
				wanted[attribute.Name] = prior[attribute.Name]
			}
		}
	}
	return encoded(known, wanted)
}

// encoded is a value in the provider's own coding (MessagePack).
func encoded(known *tfprotov5.Schema, value any) (*tfprotov5.DynamicValue, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	typed, err := tfprotov5.DynamicValue{JSON: content}.Unmarshal(known.ValueType())
	if err != nil {
		return nil, err
	}
	coded, err := tfprotov5.NewDynamicValue(known.ValueType(), typed)
	return &coded, err
}

func nullOf(known *tfprotov5.Schema) *tfprotov5.DynamicValue {
	value, err := tfprotov5.NewDynamicValue(known.ValueType(), tftypes.NewValue(known.ValueType(), nil))
	if err != nil {
		panic(err) // null is of every type
	}
	return &value
}

func differing(found, would any) map[string]any {
	changes := map[string]any{}
	before, _ := found.(map[string]any)
	after, _ := would.(map[string]any)
	for name, value := range after {
		if !reflect.DeepEqual(before[name], value) {
			changes[name] = []any{before[name], value}
		}
	}
	return changes
}

func failure(said []*tfprotov5.Diagnostic) error {
	for _, one := range said {
		if one.Severity == tfprotov5.DiagnosticSeverityError {
			return fmt.Errorf("%s %s", one.Summary, one.Detail)
		}
	}
	return nil
}
