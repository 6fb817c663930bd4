//! Metrics as Prometheus reads them.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::metrics::{BOUNDS, Cell, Histogram, Labels, Metrics, Names, Spoken};

/// One of our own values, gathered for a scrape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Own {
    /// Goes up and down.
    Gauge(&'static str, &'static str, Vec<(&'static str, String)>, f64),
    /// Only counts up.
    Counter(&'static str, &'static str, Vec<(&'static str, String)>, f64),
    /// A histogram: upper bounds with cumulative counts, the count of all, the sum.
    Histogram(&'static str, &'static str, Vec<(f64, u64)>, u64, f64),
}

/// The text of all metrics; `own` are ours beside Istio's, those of one name together.
pub(crate) fn exposition(metrics: &Metrics, own: &[Own]) -> prometheus::Result<String> {
    let mut families = istio(metrics);
    for own in own {
        let (name, help, kind, metric) = match own {
            Own::Gauge(name, help, labels, value) => (*name, *help, MetricType::GAUGE, gauge(pairs(labels), *value)),
            Own::Counter(name, help, labels, value) => (*name, *help, MetricType::COUNTER, counter(pairs(labels), *value)),
            Own::Histogram(name, help, buckets, count, sum) => (*name, *help, MetricType::HISTOGRAM, histogram(Vec::new(), buckets, *count, *sum)),
        };
        match families.last_mut() {
            Some(last) if last.name() == name => last.mut_metric().push(metric),
            _ => families.push(family(name, help, kind, vec![metric])),
        }
    }
    families.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_to_string(&families)
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn pairs(labels: &[(&'static str, String)]) -> Vec<LabelPair> {
    labels.iter().map(|(name, value)| pair(name, value)).collect()
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

fn counter(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn histogram(labels: Vec<LabelPair>, buckets: &[(f64, u64)], count: u64, sum: f64) -> Metric {
    let mut histogram = prometheus::proto::Histogram::default();
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    histogram.set_bucket(
        buckets
            .iter()
            .map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(*count);
                bucket
            })
            .collect(),
    );
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}

/// Counts of one series over all threads.
#[derive(Default)]
struct Sum {
    counts: [u64; 7],
    histograms: [([u64; BOUNDS.len() + 1], u64); 3],
}

impl Sum {
    fn of(cells: &mut dyn Iterator<Item = &Cell>) -> Self {
        let mut sum = Self::default();
        for cell in cells {
            let counters: [&AtomicU64; 7] =
                [&cell.requests, &cell.messages_received, &cell.messages_sent, &cell.opened, &cell.closed, &cell.stream_received, &cell.stream_sent];
            for (total, counter) in sum.counts.iter_mut().zip(counters) {
                *total += counter.load(Ordering::Relaxed);
            }
            let histograms: [&Histogram; 3] = [&cell.duration, &cell.received, &cell.sent];
            for ((buckets, total), histogram) in sum.histograms.iter_mut().zip(histograms) {
                for (bucket, counter) in buckets.iter_mut().zip(&histogram.buckets) {
                    *bucket += counter.load(Ordering::Relaxed);
                }
                *total += histogram.sum.load(Ordering::Relaxed);
            }
        }
        sum
    }
}

fn istio(metrics: &Metrics) -> Vec<MetricFamily> {
    const COUNTERS: [(&str, &str); 7] = [
        ("istio_requests_total", "Requests answered, or left by their client (code 0)."),
        ("istio_request_messages_total", "gRPC messages from clients."),
        ("istio_response_messages_total", "gRPC messages to clients."),
        ("istio_tcp_connections_opened_total", "Byte streams opened."),
        ("istio_tcp_connections_closed_total", "Byte streams closed."),
        ("istio_tcp_received_bytes_total", "Bytes of byte streams from clients."),
        ("istio_tcp_sent_bytes_total", "Bytes of byte streams to clients."),
    ];
    const HISTOGRAMS: [(&str, &str, f64); 3] = [
        ("istio_request_duration_milliseconds", "How long requests took.", 0.001),
        ("istio_request_bytes", "Body bytes of requests.", 1.0),
        ("istio_response_bytes", "Body bytes of responses.", 1.0),
    ];
    let mut counters: [Vec<Metric>; 7] = Default::default();
    let mut histograms: [Vec<Metric>; 3] = Default::default();
    metrics.each(|labels, cells| {
        let sum = Sum::of(cells);
        let pairs = series(metrics, labels);
        let streams = labels.spoken == Spoken::Tcp;
        for (i, (metrics, count)) in counters.iter_mut().zip(sum.counts).enumerate() {
            let wanted = match labels.spoken {
                Spoken::Http => i == 0,
                Spoken::Grpc => i < 3,
                Spoken::Tcp => i >= 3,
            };
            if wanted {
                metrics.push(counter(pairs.clone(), count as f64));
            }
        }
        if streams {
            return;
        }
        for ((metrics, (buckets, total)), (_, _, unit)) in histograms.iter_mut().zip(sum.histograms).zip(HISTOGRAMS) {
            let mut running = 0;
            let cumulative: Vec<(f64, u64)> = BOUNDS
                .iter()
                .zip(buckets)
                .map(|(bound, count)| {
                    running += count;
                    (*bound, running)
                })
                .collect();
            metrics.push(histogram(pairs.clone(), &cumulative, buckets.iter().sum(), total as f64 * unit));
        }
    });
    let build = vec![gauge(vec![pair("component", "proxy"), pair("tag", env!("CARGO_PKG_VERSION"))], 1.0)];
    let mut families = vec![family("istio_build", "Which build this is.", MetricType::GAUGE, build)];
    for ((name, help), metrics) in COUNTERS.into_iter().zip(counters) {
        families.push(family(name, help, MetricType::COUNTER, metrics));
    }
    for ((name, help, _), metrics) in HISTOGRAMS.into_iter().zip(histograms) {
        families.push(family(name, help, MetricType::HISTOGRAM, metrics));
    }
    let unreplayable = counter(Vec::new(), metrics.unreplayable.load(Ordering::Relaxed) as f64);
    let help = "Requests that could not be retried, because their body outgrew the replay buffer.";
    families.push(family("isthmus_requests_unreplayable_total", help, MetricType::COUNTER, vec![unreplayable]));
    families
}

/// All labels of a series; an ingress gateway reports as the source (10.2).
fn series(metrics: &Metrics, labels: &Labels) -> Vec<LabelPair> {
    let gateway = &metrics.gateway;
    let source = Names::of(&gateway.name, &gateway.labels);
    let target = &labels.target;
    let spoken = match labels.spoken {
        Spoken::Http => "http",
        Spoken::Grpc => "grpc",
        Spoken::Tcp => "tcp",
    };
    let mut pairs = vec![
        pair("reporter", "source"),
        pair("source_workload", &source.workload),
        pair("source_canonical_service", &source.service),
        pair("source_canonical_revision", &source.revision),
        pair("source_workload_namespace", &gateway.namespace),
        pair("source_principal", "unknown"),
        pair("source_app", &source.app),
        pair("source_version", &source.version),
        pair("source_cluster", gateway.cluster.as_str()),
        pair("destination_workload", &target.workload),
        pair("destination_workload_namespace", &target.workload_namespace),
        pair("destination_principal", "unknown"),
        pair("destination_app", &target.app),
        pair("destination_version", &target.version),
        pair("destination_service", &target.service),
        pair("destination_canonical_service", &target.canonical_service),
        pair("destination_canonical_revision", &target.canonical_revision),
        pair("destination_service_name", &target.service_name),
        pair("destination_service_namespace", &target.service_namespace),
        pair("destination_cluster", &target.cluster),
        pair("request_protocol", spoken),
    ];
    if labels.spoken != Spoken::Tcp {
        pairs.push(pair("response_code", &labels.code.to_string()));
        pairs.push(pair("grpc_response_status", &labels.grpc_status.map(|s| s.to_string()).unwrap_or_default()));
    }
    pairs.push(pair("response_flags", &labels.flags));
    pairs.push(pair("connection_security_policy", "unknown"));
    pairs
}
