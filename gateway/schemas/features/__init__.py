"""Which of the things that not every model can do a request asks for, and at which of its fields."""
