//! The journal of ferrymq.
