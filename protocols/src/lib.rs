//! Wire protocols of ferrymq.
