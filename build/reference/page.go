package main

import (
	"fmt"
	"regexp"
	"strings"
)

// page is Markdown in the making.
type page struct{ text strings.Builder }

// newPage begins a page.
func newPage(title string, paragraphs ...string) *page {
	p := &page{}
	p.text.WriteString("<!-- Made by make generate. Do not edit. -->\n\n# " + title + "\n")
	p.say(paragraphs...)
	return p
}

// heading begins a section.
func (p *page) heading(level int, title string) {
	fmt.Fprintf(&p.text, "\n%s %s\n", strings.Repeat("#", level), title)
}

// say adds paragraphs; empty ones are none.
func (p *page) say(paragraphs ...string) {
	for _, s := range paragraphs {
		if s != "" {
			p.text.WriteString("\n" + s + "\n")
		}
	}
}

// table adds a table, if there are rows. A column that all of them leave empty is
// left out.
func (p *page) table(columns []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	used := make([]bool, len(columns))
	for _, row := range rows {
		for i, cell := range row {
			used[i] = used[i] || cell != ""
		}
	}
	p.text.WriteString("\n")
	p.row(columns, used)
	line := make([]string, len(columns))
	for i := range line {
		line[i] = "---"
	}
	p.row(line, used)
	for _, row := range rows {
		p.row(row, used)
	}
}

func (p *page) row(cells []string, used []bool) {
	p.text.WriteString("|")
	for i, cell := range cells {
		if !used[i] {
			continue
		}
		cell = strings.Join(strings.Fields(cell), " ")
		p.text.WriteString(" " + strings.ReplaceAll(cell, "|", `\|`) + " |")
	}
	p.text.WriteString("\n")
}

// code is a word as one writes it; no word is none.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

var otherPage = regexp.MustCompile(`\bdocs/([a-z-]+\.md)`)

// plain is text in which Markdown is to see nothing of its own: < begins a tag and
// * emphasis. Pages that it names are links.
func plain(s string) string {
	return otherPage.ReplaceAllString(strings.NewReplacer("<", "&lt;", "*", `\*`).Replace(s), "[$0](../$1)")
}
