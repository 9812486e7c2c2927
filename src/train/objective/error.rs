//! Numbers with which an objective would mean nothing.

/// A parameter that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{objective}: {parameter} is {value}, and must be {wanted}")]
pub struct ObjectiveError {
    /// The objective's name.
    pub objective: &'static str,
    /// The parameter's.
    pub parameter: &'static str,
    /// What it is.
    pub value: f64,
    /// What it must be.
    pub wanted: &'static str,
}

/// Parameters of one objective, checked one after another.
pub(super) struct Check(pub(super) &'static str);

impl Check {
    pub(super) fn positive(&self, parameter: &'static str, value: f64) -> Result<&Self, ObjectiveError> {
        self.that(parameter, value, value.is_finite() && value > 0.0, "a finite number above 0")
    }

    pub(super) fn at_least_zero(&self, parameter: &'static str, value: f64) -> Result<&Self, ObjectiveError> {
        self.that(parameter, value, value.is_finite() && value >= 0.0, "a finite number of at least 0")
    }

    /// Of a ratio's distance below 1, at which it would be clipped.
    pub(super) fn below_one(&self, parameter: &'static str, value: f64) -> Result<&Self, ObjectiveError> {
        self.that(parameter, value, value > 0.0 && value < 1.0, "above 0 and below 1")
    }

    pub(super) fn fraction(&self, parameter: &'static str, value: f64) -> Result<&Self, ObjectiveError> {
        self.that(parameter, value, (0.0..=1.0).contains(&value), "from 0 to 1")
    }

    fn that(
        &self,
        parameter: &'static str,
        value: f64,
        good: bool,
        wanted: &'static str,
    ) -> Result<&Self, ObjectiveError> {
        let Self(objective) = *self;
        if good { Ok(self) } else { Err(ObjectiveError { objective, parameter, value, wanted }) }
    }
}
