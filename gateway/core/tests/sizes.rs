//! Records of which there are as many as endpoints, services or routes stay small: a bound for each, in bytes.
//!
//! A field that few of them have belongs into a box, one that many have in common into a shared record. Who raises a bound says in the
//! commit what a hundred thousand of them cost.

use isthmus_core::balance::{EndpointState, Level, Member, Pool, Slot, View};
use isthmus_core::model::{Endpoint, Kin, Place, Service, Workload};
use isthmus_core::snapshot::{Destination, Route, VirtualHost};

#[test]
fn records_stay_small() {
    let rows = [
        ("Endpoint", size_of::<Endpoint>(), 80),
        ("Workload", size_of::<Workload>(), 32),
        ("Kin", size_of::<Kin>(), 48),
        ("Place", size_of::<Place>(), 64),
        ("Member", size_of::<Member>(), 16),
        ("EndpointState", size_of::<EndpointState>(), 16),
        ("Service", size_of::<Service>(), 184),
        ("Slot", size_of::<Slot>(), 96),
        ("View", size_of::<View>(), 80),
        ("Level", size_of::<Level>(), 64),
        ("Pool", size_of::<Pool>(), 80),
        ("Route", size_of::<Route>(), 224),
        ("Destination", size_of::<Destination>(), 56),
        ("VirtualHost", size_of::<VirtualHost>(), 88),
    ];
    let grown: Vec<_> = rows.into_iter().filter(|(_, size, bound)| size > bound).collect();
    assert!(grown.is_empty(), "name, size, bound: {grown:?}");
}
