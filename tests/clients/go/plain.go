package main

import (
	"fmt"
	"math/big"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// plain is a value of Terraform's as JSON has it; what is known only after an apply is the word "(unknown)".
func plain(known *tfprotov5.Schema, value *tfprotov5.DynamicValue) (any, error) {
	read, err := value.Unmarshal(known.ValueType())
	if err != nil {
		return nil, err
	}
	return plainValue(read)
}

func plainValue(value tftypes.Value) (any, error) {
	switch {
	case !value.IsKnown():
		return "(unknown)", nil
	case value.IsNull():
		return nil, nil
	case value.Type().Is(tftypes.String):
		return read[string](value)
	case value.Type().Is(tftypes.Bool):
		return read[bool](value)
	case value.Type().Is(tftypes.Number):
		var number big.Float
		err := value.As(&number)
		found, _ := number.Float64()
		return found, err
	case value.Type().Is(tftypes.List{}), value.Type().Is(tftypes.Set{}):
		items, err := read[[]tftypes.Value](value)
		if err != nil {
			return nil, err
		}
		plained := make([]any, len(items))
		for i, item := range items {
			if plained[i], err = plainValue(item); err != nil {
				return nil, err
			}
		}
		return plained, nil
	case value.Type().Is(tftypes.Map{}), value.Type().Is(tftypes.Object{}):
		fields, err := read[map[string]tftypes.Value](value)
		if err != nil {
			return nil, err
		}
		plained := map[string]any{}
		for name, field := range fields {
			if plained[name], err = plainValue(field); err != nil {
				return nil, err
			}
		}
		return plained, nil
	}
	return nil, fmt.Errorf("%s is not known here", value.Type())
}

func read[T any](value tftypes.Value) (T, error) {
	var found T
	err := value.As(&found)
	return found, err
}
