package redirect

// canaryName is the near end of the canary's veth pair.
const canaryName = "podid-canary"
