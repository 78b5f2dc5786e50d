// Package messages holds docs/troubleshooting.md against the sources: every text
// that somebody may look up there is in the page, and the page has no other.
package messages

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// parsed are the files of packages, by patterns below the folder of the clone.
// Tests are left out.
func parsed(root string, patterns ...string) ([]*ast.File, error) {
	var files []*ast.File
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		found := false
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			files, found = append(files, f), true
		}
		if !found {
			return nil, fmt.Errorf("no source is %s", pattern)
		}
	}
	return files, nil
}

// each calls fn for every node of the files.
func each[N ast.Node](files []*ast.File, fn func(N)) {
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if n, ok := n.(N); ok {
				fn(n)
			}
			return true
		})
	}
}

// said is what an expression says; of one that has no words of its own, the code
// that it is in, so that somebody has to tell where the words are.
func said(e ast.Expr, in ast.Expr) string {
	if s := text(e); s == "" || says(s) {
		return s
	}
	return "(" + types.ExprString(in) + ")"
}

// calls are the n-th arguments (from 0) of calls to functions of these names, with
// a package or a receiver before them or none.
func calls(files []*ast.File, n int, names ...string) (texts []string) {
	each(files, func(c *ast.CallExpr) {
		if len(c.Args) > n && slices.Contains(names, called(c)) {
			texts = append(texts, said(c.Args[n], c))
		}
	})
	return texts
}

// made are the errors that are made by fmt and errors.
func made(files []*ast.File) (texts []string) {
	each(files, func(c *ast.CallExpr) {
		switch types.ExprString(c.Fun) {
		case "fmt.Errorf", "errors.New":
			texts = append(texts, said(c.Args[0], c))
		}
	})
	return texts
}

// called is the name of the function of a call.
func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// fields are what literals of structures have in a field.
func fields(files []*ast.File, name string) (texts []string) {
	each(files, func(kv *ast.KeyValueExpr) {
		if key, ok := kv.Key.(*ast.Ident); ok && key.Name == name {
			texts = append(texts, said(kv.Value, kv.Value))
		}
	})
	return texts
}

// set is what a field of any variable is set to.
func set(files []*ast.File, name string) (texts []string) {
	each(files, func(a *ast.AssignStmt) {
		for i, to := range a.Lhs {
			if f, ok := to.(*ast.SelectorExpr); ok && f.Sel.Name == name && len(a.Rhs) == len(a.Lhs) {
				texts = append(texts, said(a.Rhs[i], a.Rhs[i]))
			}
		}
	})
	return texts
}

// returned is what a function returns in a place (from 0).
func returned(files []*ast.File, place int, name string) (texts []string) {
	each(files, func(f *ast.FuncDecl) {
		if f.Name.Name != name {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > place {
				texts = append(texts, said(r.Results[place], r.Results[place]))
			}
			_, another := n.(*ast.FuncLit)
			return !another
		})
	})
	return texts
}

// assigned is what variables of a name are made with.
func assigned(files []*ast.File, name string) (texts []string) {
	each(files, func(a *ast.AssignStmt) {
		if v, ok := a.Lhs[0].(*ast.Ident); ok && v.Name == name && a.Tok == token.DEFINE {
			texts = append(texts, said(a.Rhs[0], a.Rhs[0]))
		}
	})
	return texts
}

// constants are the values of constants, and of variables, whose names begin with a
// prefix, where they are texts.
func constants(files []*ast.File, prefix string) (texts []string) {
	each(files, func(v *ast.ValueSpec) {
		for i, name := range v.Names {
			if i < len(v.Values) && strings.HasPrefix(name.Name, prefix) {
				if l, ok := v.Values[i].(*ast.BasicLit); ok && l.Kind == token.STRING {
					texts = append(texts, text(l))
				}
			}
		}
	})
	return texts
}

// typed are the values of constants of a type.
func typed(files []*ast.File, name string) (texts []string) {
	each(files, func(v *ast.ValueSpec) {
		is := false
		switch t := v.Type.(type) {
		case *ast.Ident:
			is = t.Name == name
		case *ast.SelectorExpr:
			is = t.Sel.Name == name
		}
		for _, value := range v.Values {
			if is {
				texts = append(texts, text(value))
			}
		}
	})
	return texts
}

// open stands for what is different each time.
const open = "…"

var (
	verb  = regexp.MustCompile(`%[+#]?[a-zA-Z]`)
	opens = regexp.MustCompile(`(…)+`)
)

// text is what an expression says, with an ellipsis for what is different each
// time.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return format(s)
		}
	case *ast.BinaryExpr:
		return opens.ReplaceAllString(text(e.X)+text(e.Y), open)
	case *ast.CallExpr:
		if name := called(e); name == "Sprintf" || name == "cut" {
			return text(e.Args[0])
		}
	}
	return open
}

// format is a format of fmt's with an ellipsis for each of its verbs.
func format(s string) string {
	s = strings.ReplaceAll(s, "%q", `"`+open+`"`)
	s = verb.ReplaceAllString(s, open)
	return opens.ReplaceAllString(strings.ReplaceAll(s, "%%", "%"), open)
}

// says reports whether a text has words of its own.
func says(s string) bool {
	return regexp.MustCompile(`\pL{2}`).MatchString(s)
}
