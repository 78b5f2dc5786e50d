package docs

import (
	"cmp"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Faults are what is wrong with pages by themselves: blocks of no known kind,
// commands where nobody runs them, links that lead nowhere, pages that nobody is
// led to. The folder of the clone is root.
func Faults(root string, pages []Page) []Fault {
	anchors := map[string][]string{}
	for _, p := range pages {
		anchors[p.Path] = p.anchors()
	}
	all := unlinked(pages)
	for _, p := range pages {
		all = append(all, p.faults...)
		for _, b := range p.Blocks {
			for _, f := range b.faults() {
				f.Path = p.Path
				all = append(all, f)
			}
		}
		for _, l := range p.links {
			if what := l.fault(root, p.Path, anchors); what != "" {
				all = append(all, Fault{Path: p.Path, Line: l.line, What: what})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line)) })
	return all
}

// unlinked are the pages that no other links to. README.md is where a reader
// begins.
func unlinked(pages []Page) (faults []Fault) {
	linked := map[string]bool{"README.md": true}
	for _, p := range pages {
		for _, l := range p.links {
			path := l.path(p.Path)
			if path != p.Path {
				linked[path] = true
				linked[filepath.Join(path, "README.md")] = true // which GitHub shows for a folder
			}
		}
	}
	for _, p := range pages {
		if !linked[p.Path] {
			faults = append(faults, Fault{Path: p.Path, Line: 1, What: "no other page links to it"})
		}
	}
	return faults
}

// path is that below the clone's folder that a link on the page from leads to, or
// nothing where it leads out of the repository.
func (l link) path(from string) string {
	u, err := url.Parse(l.target)
	switch {
	case err != nil || u.Scheme != "" || u.Host != "":
		return ""
	case u.Path == "":
		return from
	}
	return filepath.Join(filepath.Dir(from), u.Path)
}

// fault says why a link leads nowhere. Links out of the repository are not
// followed.
func (l link) fault(root, from string, anchors map[string][]string) string {
	u, err := url.Parse(l.target)
	switch {
	case err != nil:
		return "the link " + l.target + " is none"
	case u.Scheme != "" || u.Host != "":
		return ""
	case strings.HasPrefix(u.Path, "/"):
		return "the link " + l.target + " begins at no folder of the repository"
	}
	path := l.path(from)
	if strings.HasPrefix(path, "..") {
		return "the link " + l.target + " leads out of the repository"
	}
	headings, page := anchors[path]
	if _, err := os.Stat(filepath.Join(root, path)); err != nil && !page {
		return "the link " + l.target + " leads to no file"
	}
	if u.Fragment != "" && !slices.Contains(headings, u.Fragment) {
		return "the link " + l.target + " leads to no heading"
	}
	return ""
}

// anchors are the names by which GitHub links to the headings.
func (p Page) anchors() (names []string) {
	seen := map[string]int{}
	for _, h := range p.headings {
		name := slug(h)
		n := seen[name]
		if seen[name]++; n > 0 {
			name += "-" + strconv.Itoa(n)
		}
		names = append(names, name)
	}
	return names
}

func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, inline.ReplaceAllString(heading, "]"))
}
