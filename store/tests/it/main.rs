//! The store from outside: on a real disk, and on a simulated one that fails.

mod real;
mod support;
