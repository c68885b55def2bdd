//! ferrymq: a message broker with JMS semantics.
