package main

import (
	"reflect"
	"strings"
	"time"
	"unicode"
)

var clock = reflect.TypeOf(time.Time{})

// shown is what a client's structure holds, by the names of the API. A field that the client fills in by code of its own (tag "-") is
// named after the Go field: CreatedAt is created_at.
func shown(value any) any { return show(reflect.ValueOf(value)) }

func show(value reflect.Value) any {
	switch value.Kind() {
	case reflect.Invalid:
		return nil
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() {
			return nil
		}
		return show(value.Elem())
	case reflect.Slice:
		items := make([]any, 0, value.Len())
		for i := range value.Len() {
			items = append(items, show(value.Index(i)))
		}
		return items
	case reflect.Struct:
		if value.Type() == clock {
			return when(value.Interface().(time.Time))
		}
		fields := map[string]any{}
		for i := range value.NumField() {
			if field := value.Type().Field(i); field.IsExported() {
				fields[name(field)] = show(value.Field(i))
			}
		}
		return fields
	default:
		return value.Interface()
	}
}

func when(moment time.Time) any {
	if moment.IsZero() {
		return nil
	}
	return moment.UTC().Format("2006-01-02T15:04:05")
}

func name(field reflect.StructField) string {
	tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	if tag != "" && tag != "-" {
		return strings.TrimSpace(tag)
	}
	return snake(field.Name)
}

// snake is HTTPVersion as http_version.
func snake(word string) string {
	var made strings.Builder
	for i, letter := range word {
		afterWord := i > 0 && unicode.IsLower(rune(word[i-1]))
		beforeWord := i > 0 && i+1 < len(word) && unicode.IsLower(rune(word[i+1]))
		if unicode.IsUpper(letter) && (afterWord || beforeWord) {
			made.WriteByte('_')
		}
		made.WriteRune(unicode.ToLower(letter))
	}
	return made.String()
}
