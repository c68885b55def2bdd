//! Responses (openwire.md section 10). `correlation_id` names the command that is answered.

use super::{Command, Throwable};
use crate::openwire::schema::{absent, is_present, wire};

wire! {
    /// Success.
    command Response = 30 {
        /// What is answered.
        correlation_id: i32,
    }

    /// Failure.
    command ExceptionResponse = 31 {
        /// What is answered.
        correlation_id: i32,
        /// Why it failed.
        exception: Option<Box<Throwable>>,
    }

    /// Success with an object.
    command DataResponse = 32 {
        /// What is answered.
        correlation_id: i32,
        /// The object.
        data: Option<Box<Command>>,
    }

    /// Success with objects: what recovery finds.
    command DataArrayResponse = 33 {
        /// What is answered.
        correlation_id: i32,
        /// The objects.
        data: Option<Vec<Option<Command>>>,
    }

    /// Success with a number: a vote.
    command IntegerResponse = 34 {
        /// What is answered.
        correlation_id: i32,
        /// The number.
        result: i32,
    }
}

impl Response {
    /// Success of the command of that id.
    pub fn to(correlation_id: i32) -> Self {
        Self {
            correlation_id,
            ..Self::default()
        }
    }
}

impl ExceptionResponse {
    /// Failure of the command of that id.
    pub fn to(correlation_id: i32, exception: Throwable) -> Self {
        Self {
            correlation_id,
            exception: Some(Box::new(exception)),
            ..Self::default()
        }
    }
}

impl IntegerResponse {
    /// Success of the command of that id.
    pub fn to(correlation_id: i32, result: i32) -> Self {
        Self {
            correlation_id,
            result,
            ..Self::default()
        }
    }
}
