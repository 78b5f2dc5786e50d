package roles

// What tests see of the inside.
var (
	Patiently = patiently
	NameOf    = nameOf
)

// LongestWait is how long assignments wait together.
const LongestWait = longestWait
