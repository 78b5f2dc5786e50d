// Package docs runs what the documentation tells its readers to run: README.md,
// the pages of docs/, and those of examples/.
//
// Every block of code in them is fenced, and says after the fence what it is. No
// block is passed over: one whose words are not in this list is a fault.
//
//	sh            commands. All of a page run in its order, in one bash with
//	              set -eo pipefail, so that variables stay. The folder is a clone;
//	              the cluster is an API server with nothing in it, whose pods do
//	              not run, beside an emulated Azure
//	sh yours      what differs for each reader: lines NAME=value, and comments
//	              after them. A test puts values of its own in the place of some
//	sh node       commands that need pods which run. A page that has one is run on
//	              nodes where containers run (make e2e), with all its other blocks
//	              of commands but those of sh machine
//	sh azure      commands that only a real AKS, registry or tenant can carry out.
//	              They are held against the list of words and flags, and do nothing
//	sh machine    commands for the reader's own machine, or for a node of his. make
//	              is run with -n, and up and down for real; az, skopeo and ctr are
//	              held against the list; others are run
//	yaml          objects, applied by a strict dry run of a real API server
//	yaml foreign  objects of kinds that are not here: well-formed, with a kind
//	yaml          beginning with the line "# values.yaml": values of the chart,
//	              which its schema and its templates have to take
//	json          well-formed
//	text          what is printed, drawings, requests: not run, so no line of it
//	              begins with a command
//
// The list is test/docs/standin: of az, skopeo and ctr it has the commands and flags
// that the pages use, written from the documentation of each, and of some flags the
// values. No real one was asked, so what is wrong in the list is wrong here too.
//
// A command that fails is a fault, also in the words of another, $(...), where bash
// passes over it; not where the page itself asks how it ended (if, ||). What a
// stand-in refuses is a fault there too.
//
// A block of sh may say status=N where its last command ends with another status
// than 0: that status, and no other, is well then.
//
// What a page takes for granted, such as a namespace, is made by the script
// testdata/before/NAME.sh, where the page is docs/NAME.md (a page in a folder:
// FOLDER-NAME.sh). It runs in the same shell, before the first block.
//
// Links of a page to files and headings of the repository must lead somewhere, and
// to each page beside README.md one of another page.
package docs
