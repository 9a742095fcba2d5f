package policy

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

// Rule is a configured reason to deny, in the Common Expression Language.
//
//	name: no-clients
//	deny_if: facts.exists(f, f.kind == 'server-replica' && int(f.evidence['clients']) > 0)
//	message: the replica still serves clients
//
// It sees operation (string), machine (string), whole_machine (bool), devices
// (list of strings) and facts: a list of objects with probe, kind, verdict,
// subject, summary (strings) and evidence (strings by name). A rule that ends
// in an error, runs over its cost, or is not a bool denies: it can only add
// denials.
type Rule struct {
	Name    string `yaml:"name"`
	DenyIf  string `yaml:"deny_if"`
	Message string `yaml:"message"`
}

// Limits of one rule: the steps CEL may take (a rule over a hundred facts takes
// some thousands), the length of its text, and how many rules there may be.
const (
	ruleCost   = 1_000_000
	ruleLength = 4096
	maxRules   = 100
)

// Rules are compiled rules. A nil *Rules has none.
type Rules struct {
	rules []compiled
}

type compiled struct {
	Rule
	program cel.Program
}

// Compile checks the rules and their types.
func Compile(rules []Rule) (*Rules, error) {
	if len(rules) > maxRules {
		return nil, fmt.Errorf("rules: %d of them, at most %d", len(rules), maxRules)
	}
	env, err := cel.NewEnv(
		cel.Variable("operation", cel.StringType),
		cel.Variable("machine", cel.StringType),
		cel.Variable("whole_machine", cel.BoolType),
		cel.Variable("devices", cel.ListType(cel.StringType)),
		ext.NativeTypes(reflect.TypeFor[ruleFact](), ext.ParseStructTags(true)),
		cel.Variable("facts", cel.ListType(cel.ObjectType("policy.ruleFact"))),
		cel.ParserExpressionSizeLimit(ruleLength),
	)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	out := &Rules{}
	seen := map[string]bool{}
	for i, rule := range rules {
		if rule.Name == "" || seen[rule.Name] {
			return nil, fmt.Errorf("rule %d: name %q is empty or taken", i+1, rule.Name)
		}
		seen[rule.Name] = true
		program, err := compile(env, rule)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", rule.Name, err)
		}
		out.rules = append(out.rules, compiled{rule, program})
	}
	return out, nil
}

func compile(env *cel.Env, rule Rule) (cel.Program, error) {
	if strings.TrimSpace(rule.DenyIf) == "" {
		return nil, errors.New("deny_if is empty")
	}
	ast, issues := env.Compile(rule.DenyIf)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("deny_if has the type %s, it must be bool", ast.OutputType())
	}
	return env.Program(ast, cel.CostLimit(ruleCost))
}

// Judge returns the denials the rules add.
func (r *Rules) Judge(in Input) (denials []Denial) {
	if r == nil {
		return nil
	}
	input := ruleInput(in)
	for _, rule := range r.rules {
		deny, err := rule.eval(input)
		switch {
		case err != nil: //check:policy-rule-error
			denials = append(denials, Denial{Code: "rule:" + rule.Name, Class: Unknown, Waivable: true,
				Summary: fmt.Sprintf("rule %s could not be evaluated: %v", rule.Name, err)})
		case deny: //check:policy-rule
			message := rule.Message
			if message == "" {
				message = rule.DenyIf
			}
			denials = append(denials, Denial{Code: "rule:" + rule.Name, Class: RuleClass, Waivable: true, Summary: message})
		}
	}
	return denials
}

func (c compiled) eval(input map[string]any) (bool, error) {
	out, _, err := c.program.Eval(input)
	if err != nil {
		return false, err
	}
	deny, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("the result is a %s, not a bool", out.Type().TypeName())
	}
	return deny, nil
}

// ruleFact is a fact as rules see it. The type is known to CEL, so that a
// misspelt field is an error when the configuration is read.
type ruleFact struct {
	Probe    string            `cel:"probe"`
	Kind     string            `cel:"kind"`
	Verdict  string            `cel:"verdict"`
	Subject  string            `cel:"subject"`
	Summary  string            `cel:"summary"`
	Evidence map[string]string `cel:"evidence"`
}

func ruleInput(in Input) map[string]any {
	facts := make([]ruleFact, len(in.Facts))
	for i, f := range in.Facts {
		facts[i] = ruleFact{
			Probe: f.Probe, Kind: string(f.Kind), Verdict: f.Verdict.String(),
			Subject: f.Subject, Summary: f.Summary, Evidence: f.Evidence,
		}
	}
	devices := in.Scope.Devices
	if devices == nil {
		devices = []string{}
	}
	return map[string]any{
		"operation":     string(in.Operation),
		"machine":       in.Machine,
		"whole_machine": in.Scope.WholeMachine(),
		"devices":       devices,
		"facts":         facts,
	}
}
