//! The table of events and steps.
