package nmi

// WithCaller is the ConnContext of the server, for benchmarks without one.
var WithCaller = (*Server).withCaller
