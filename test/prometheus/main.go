// Command prometheus looks at manifests as Prometheus, its operator and Grafana do.
// It is a module of its own: nothing of podid depends on theirs.
//
// From standard input it reads the objects of a chart. Those of the operator's
// kinds are decoded strictly into the operator's types; rules go through the
// parser of Prometheus's own files of rules, the queries of dashboards through
// that of queries. On standard output it says, as JSON, which metrics are asked
// for, and by which labels.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "prometheus:", err)
		os.Exit(1)
	}
}

// asked is a metric that something asks for.
type asked struct {
	By     string   `json:"by"` // the alert, or the panel
	Metric string   `json:"metric"`
	Labels []string `json:"labels"` // that it is chosen by, or summed up by
}

func run(in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var all []asked
	var errs []error
	for document := range strings.SplitSeq("\n"+string(text), "\n---") {
		list, err := look([]byte(document))
		all, errs = append(all, list...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(all)
}

// look looks at one object.
func look(document []byte) ([]asked, error) {
	var object metav1.PartialObjectMetadata
	if err := yaml.Unmarshal(document, &object); err != nil {
		return nil, err
	}
	list, err := lookAt(object.Kind, document)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", object.Kind, object.Name, err)
	}
	return list, nil
}

func lookAt(kind string, document []byte) ([]asked, error) {
	switch kind {
	case monitoring.ServiceMonitorsKind:
		return nil, yaml.UnmarshalStrict(document, &monitoring.ServiceMonitor{})
	case monitoring.PodMonitorsKind:
		return nil, yaml.UnmarshalStrict(document, &monitoring.PodMonitor{})
	case monitoring.PrometheusRuleKind:
		var rule monitoring.PrometheusRule
		if err := yaml.UnmarshalStrict(document, &rule); err != nil {
			return nil, err
		}
		return rules(&rule)
	case "ConfigMap":
		var m struct{ Data map[string]string }
		if err := yaml.Unmarshal(document, &m); err != nil {
			return nil, err
		}
		var all []asked
		for name, text := range m.Data {
			if !strings.HasSuffix(name, ".json") {
				continue
			}
			list, err := dashboard(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all = append(all, list...)
		}
		return all, nil
	default:
		return nil, nil
	}
}

// rules reads rules as Prometheus does that the operator gives them to: with the
// templates of their annotations.
func rules(rule *monitoring.PrometheusRule) ([]asked, error) {
	text, err := yaml.Marshal(rule.Spec)
	if err != nil {
		return nil, err
	}
	p := parser.NewParser(parser.Options{})
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, p, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var all []asked
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			list, err := metrics(r.Alert, r.Expr)
			if err != nil {
				return nil, err
			}
			all = append(all, list...)
		}
	}
	return all, nil
}

// dashboard reads the queries of a dashboard of Grafana's.
func dashboard(text string) ([]asked, error) {
	type panel struct {
		Title   string
		Targets []struct{ Expr string }
	}
	var board struct{ Panels []panel }
	if err := json.Unmarshal([]byte(text), &board); err != nil {
		return nil, err
	}
	var all []asked
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			list, err := metrics(p.Title, target.Expr)
			if err != nil {
				return nil, err
			}
			all = append(all, list...)
		}
	}
	return all, nil
}

// metrics are those that a query asks for.
func metrics(by, query string) ([]asked, error) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", by, query, err)
	}
	var all []asked
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		a := asked{By: by, Metric: selector.Name, Labels: []string{}}
		for _, m := range selector.LabelMatchers {
			if m.Name != model.MetricNameLabel {
				a.Labels = append(a.Labels, m.Name)
			}
		}
		for _, outer := range path {
			if sum, ok := outer.(*parser.AggregateExpr); ok {
				a.Labels = append(a.Labels, sum.Grouping...)
			}
		}
		slices.Sort(a.Labels)
		all = append(all, a)
		return nil
	})
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: %s asks for no metric", by, query)
	}
	return all, nil
}
