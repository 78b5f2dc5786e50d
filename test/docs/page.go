package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Page is one page of the documentation.
type Page struct {
	// Path is the path below the folder of the clone.
	Path string
	// Blocks are its blocks of code, in their order.
	Blocks []Block

	faults   []Fault
	links    []link
	headings []string
}

// Block is one fenced block of code.
type Block struct {
	// Line is that of its first line of code in the page, counted from 1.
	Line int
	// Words are what stands after the fence.
	Words []string
	// Text is the code, without the indentation of the fence.
	Text string
}

// Fault is something wrong with a page.
type Fault struct {
	Path string
	Line int
	What string
}

func (f Fault) String() string { return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.What) }

type link struct {
	line   int
	target string
}

// Read reads all pages of the clone in the folder root.
func Read(root string) ([]Page, error) {
	paths := []string{"README.md"}
	for _, folder := range []string{"docs", "examples"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			if filepath.Ext(path) == ".md" {
				below, err := filepath.Rel(root, path)
				paths = append(paths, below)
				return err
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("look for pages: %w", err)
		}
	}
	slices.Sort(paths)
	var pages []Page
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return nil, err
		}
		pages = append(pages, Parse(path, string(text)))
	}
	return pages, nil
}

// A fence may stand in a list, and so be indented.
var fence = regexp.MustCompile("^( *)(```+|~~~+)(.*)$")

// Parse reads a page.
func Parse(path, text string) Page {
	p := Page{Path: path}
	lines := strings.Split(text, "\n")
	blank := true // the line before
	for i := 0; i < len(lines); i++ {
		m := fence.FindStringSubmatch(lines[i])
		if m == nil {
			p.prose(i+1, lines[i], blank)
			blank = strings.TrimSpace(lines[i]) == ""
			continue
		}
		i = p.block(lines, i, m[1], m[2], m[3])
		blank = false
	}
	return p
}

// block reads the block whose fence is the line open, and returns the line that
// closes it.
func (p *Page) block(lines []string, open int, indent, fence, words string) int {
	b := Block{Line: open + 2, Words: strings.Fields(words)}
	for i := open + 1; i < len(lines); i++ {
		line := strings.TrimPrefix(lines[i], indent)
		if rest := strings.TrimLeft(line, fence[:1]); len(line)-len(rest) >= len(fence) && strings.TrimSpace(rest) == "" {
			p.Blocks = append(p.Blocks, b)
			return i
		}
		b.Text += line + "\n"
	}
	p.fault(open+1, "the block has no end")
	return len(lines)
}

var (
	heading  = regexp.MustCompile(`^#{1,6} +(.*?) *#*$`)
	codeSpan = regexp.MustCompile("`+[^`]*`+")
	inline   = regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?: +"[^"]*")?\)`)
	named    = regexp.MustCompile(`^ *\[[^\]]+\]: *(\S+)`)
)

// prose reads a line outside of blocks.
func (p *Page) prose(number int, line string, afterBlank bool) {
	if m := heading.FindStringSubmatch(line); m != nil {
		p.headings = append(p.headings, m[1])
	}
	trimmed := strings.TrimLeft(line, " \t")
	indented := strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t")
	if indented && afterBlank && trimmed != "" && !strings.HasPrefix(trimmed, "- ") {
		p.fault(number, "an indented block: fence it, and say what it is")
	}
	line = codeSpan.ReplaceAllString(line, "")
	for _, m := range append(inline.FindAllStringSubmatch(line, -1), named.FindAllStringSubmatch(line, -1)...) {
		p.links = append(p.links, link{line: number, target: m[1]})
	}
}

func (p *Page) fault(line int, what string, args ...any) {
	p.faults = append(p.faults, Fault{Path: p.Path, Line: line, What: fmt.Sprintf(what, args...)})
}
