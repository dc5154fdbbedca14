"""What `janua demo` runs: two small model servers, and the tour that puts Janua in front of them."""
