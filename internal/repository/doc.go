// Package repository keeps sealed objects in a store: what an object holds is
// compressed, encrypted if the repository has recipients, and can be proven to
// be what was written.
//
// docs/format/repository.md has the format of a sealed object and of the
// marker. In short: a header in JSON, then zstd frames, as one age file if
// encrypted; and a name that ends in the hash of all stored bytes. So
// everything can be checked without a key, and one that is damaged, cut short
// or under another's name is found.
//
// What is not guaranteed: the hash is no signature. Whoever can write to the
// place can put there an object of his own, also an encrypted one, since
// recipients are public; or delete. The place has to refuse that (object lock,
// versions, an account that only adds).
package repository
