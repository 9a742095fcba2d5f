package config

import _ "embed" // of the example

//go:embed example.yaml
var example string

// Example is a file with every key and what it is for. It is valid.
func Example() string { return example }
