//! The result of a run: medians over the rounds, and the ratios that the goals are about.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Samples by measurement and gateway.
#[derive(Debug, Default)]
pub struct Report {
    samples: BTreeMap<(String, String), Vec<f64>>,
    order: Vec<(String, String)>,
}

/// A ratio of two medians that must be reached.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// What is measured.
    pub what: &'static str,
    /// The gateway that has a goal.
    pub gateway: &'static str,
    /// The gateway that it is compared with; none where the goal is a figure.
    pub peer: Option<&'static str>,
    /// The least ratio, or figure.
    pub least: f64,
}

impl Report {
    /// Adds a sample.
    pub fn add(&mut self, what: &str, gateway: &str, sample: f64) {
        let key = (what.to_owned(), gateway.to_owned());
        if !self.samples.contains_key(&key) {
            self.order.push(key.clone());
        }
        self.samples.entry(key).or_default().push(sample);
    }

    /// The median of the samples.
    pub fn median(&self, what: &str, gateway: &str) -> Option<f64> {
        let mut samples = self.samples.get(&(what.to_owned(), gateway.to_owned()))?.clone();
        samples.sort_by(f64::total_cmp);
        samples.get(samples.len() / 2).copied()
    }

    /// Prints every median with the range of its samples, and the goals.
    pub fn print(&self, goals: &[Goal]) {
        println!("\n{:<42} {:<10} {:>10}   least .. most", "what", "gateway", "median");
        for (what, gateway) in &self.order {
            let samples = &self.samples[&(what.clone(), gateway.clone())];
            let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
            let most = samples.iter().copied().fold(0.0, f64::max);
            let median = self.median(what, gateway).unwrap_or_default();
            println!("{what:<42} {gateway:<10} {median:>10.3}   {least:.3} .. {most:.3}");
        }
        println!("\n{:<42} {:<26} {:>8} {:>8}", "goal", "", "reached", "wanted");
        for goal in goals {
            let name = goal.peer.map_or(goal.gateway.to_owned(), |peer| format!("{} / {peer}", goal.gateway));
            let Some(reached) = self.reached(goal) else { continue };
            let mark = if reached >= goal.least { "✔" } else { "✘" };
            println!("{:<42} {name:<26} {reached:>8.2} {:>8.2} {mark}", goal.what, goal.least);
        }
    }

    /// The whole result, for tools.
    pub fn json(&self, goals: &[Goal]) -> Value {
        let measurements: Vec<Value> = self
            .order
            .iter()
            .map(|(what, gateway)| {
                json!({
                    "what": what,
                    "gateway": gateway,
                    "median": self.median(what, gateway),
                    "samples": self.samples[&(what.clone(), gateway.clone())],
                })
            })
            .collect();
        let goals: Vec<Value> = goals
            .iter()
            .map(|goal| {
                json!({
                    "what": goal.what,
                    "gateway": goal.gateway,
                    "peer": goal.peer,
                    "wanted": goal.least,
                    "reached": self.reached(goal),
                })
            })
            .collect();
        json!({ "measurements": measurements, "goals": goals })
    }

    fn reached(&self, goal: &Goal) -> Option<f64> {
        let own = self.median(goal.what, goal.gateway)?;
        match goal.peer {
            Some(peer) => Some(own / self.median(goal.what, peer)?),
            None => Some(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Goal, Report};

    #[test]
    fn a_goal_is_a_ratio_of_medians() {
        let mut report = Report::default();
        for sample in [1.0, 9.0, 2.0] {
            report.add("rate", "ours", sample * 3.0);
            report.add("rate", "peer", sample);
        }
        let goal = Goal { what: "rate", gateway: "ours", peer: Some("peer"), least: 2.5 };
        assert_eq!(report.reached(&goal), Some(3.0));
        assert_eq!(report.reached(&Goal { peer: None, ..goal }), Some(6.0));
        assert_eq!(report.reached(&Goal { what: "nothing", ..goal }), None);
    }
}
