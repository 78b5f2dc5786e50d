package entra

// ParseCertificate is for fuzzing.
var ParseCertificate = parseCertificate
