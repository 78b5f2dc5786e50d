package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// query is the part of JMESPath that the pages use: names with dots between, a
// number or nothing in brackets, and {name: query, ...}.
func query(v any, q string) (any, error) {
	q = strings.TrimSpace(q)
	if inner, found := strings.CutPrefix(q, "{"); found {
		return picked(v, strings.TrimSuffix(inner, "}"))
	}
	for q != "" {
		q = strings.TrimPrefix(q, ".")
		if inner, found := strings.CutPrefix(q, "["); found {
			index, rest, _ := strings.Cut(inner, "]")
			list, is := v.([]any)
			if !is {
				return nil, errors.New("no list there")
			}
			if index == "" {
				return each(list, rest)
			}
			n, err := strconv.Atoi(index)
			if err != nil || n < 0 || n >= len(list) {
				return nil, fmt.Errorf("the list of %d has no [%s]", len(list), index)
			}
			v, q = list[n], rest
			continue
		}
		end := strings.IndexAny(q, ".[")
		if end < 0 {
			end = len(q)
		}
		object, is := v.(map[string]any)
		if !is {
			return nil, fmt.Errorf("no object with %s there", q[:end])
		}
		next, found := object[q[:end]]
		if !found {
			return nil, fmt.Errorf("there is no %s, but %s", q[:end], strings.Join(slices.Sorted(maps.Keys(object)), ", "))
		}
		v, q = next, q[end:]
	}
	return v, nil
}

func each(list []any, q string) (any, error) {
	out := []any{}
	for _, one := range list {
		got, err := query(one, q)
		if err != nil {
			return nil, err
		}
		out = append(out, got)
	}
	return out, nil
}

func picked(v any, fields string) (any, error) {
	out := map[string]any{}
	for field := range strings.SplitSeq(fields, ",") {
		name, q, found := strings.Cut(field, ":")
		if !found {
			return nil, fmt.Errorf("no name in %s", field)
		}
		got, err := query(v, q)
		if err != nil {
			return nil, err
		}
		out[strings.TrimSpace(name)] = got
	}
	return out, nil
}

// tsv is a value, or a line for each of a list.
func tsv(v any) string {
	list, is := v.([]any)
	if !is {
		return fmt.Sprintln(v)
	}
	var all strings.Builder
	for _, one := range list {
		fmt.Fprintln(&all, one)
	}
	return all.String()
}
