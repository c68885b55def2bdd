//! Which routes there are between destinations, by the rules of the moment (VIR-1 to VIR-6).

use std::sync::{Arc, PoisonError};

use super::{Known, Registry};
use crate::broker::selector::{Selector, SelectorOptions};
use crate::broker::{Destination, Filter, Kind, Pattern};
use crate::engine::cell::Cell;
use crate::engine::filter::SelectorFilter;
use crate::engine::routes::{Branch, Cause, Composite, Forward, Route, Rules};
use crate::engine::shared;

impl Registry {
    /// The rules of virtual destinations.
    #[must_use]
    pub fn route_rules(&self) -> Arc<Rules> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the rules, and the routes that come of them (VIR-6). A message that is on its way takes old or new ones.
    pub fn set_routes(&self, rules: Rules) {
        let rules = Arc::new(rules);
        // Nothing is made meanwhile by the old ones.
        let mut known = self.known_mut();
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&rules);
        self.link_all(&mut known);
    }

    /// Settles the routes between all destinations that there are.
    pub fn link_adopted(&self) {
        self.link_all(&mut self.known_mut());
    }

    fn link_all(&self, known: &mut Known) {
        let rules = self.route_rules();
        let cells: Vec<Arc<Cell>> = known.cells.iter().cloned().collect();
        for cell in &cells {
            let branches = self.composite_branches(&rules, known, cell);
            cell.routes.set(branches);
        }
        // Topics that virtual topics may be, so that queues are not compared with all there is.
        let topics: Vec<(&Arc<Cell>, Vec<usize>)> = cells
            .iter()
            .map(|cell| (cell, rules.virtual_of(&cell.destination)))
            .filter(|(_, matching)| !matching.is_empty())
            .collect();
        for queue in &cells {
            for (rule, consumed) in rules.feeding(&queue.destination) {
                let fed = topics.iter().filter(|(topic, matching)| {
                    matching.contains(&rule) && consumed.matches(&topic.destination.name)
                });
                for (topic, _) in fed {
                    feed(&rules, rule, topic, queue);
                }
            }
            let topic = shared::topic_of(&queue.destination)
                .and_then(|topic| known.cells.get(&Destination::topic(topic)));
            if let Some(topic) = topic {
                share(topic, queue);
            }
        }
    }

    /// Settles the routes that a new destination brings, which others may be made for. Others are looked at only if its
    /// name can have something to do with them: there may be very many.
    pub(super) fn link(&self, known: &mut Known, cell: &Arc<Cell>) {
        let rules = self.route_rules();
        let name = &cell.destination;
        if rules.composites_of(name).next().is_some() {
            let branches = self.composite_branches(&rules, known, cell);
            cell.routes.set(branches);
        }
        for rule in rules.virtual_of(name) {
            let consumes = |other: &&Arc<Cell>| {
                let fed =
                    |(by, consumed): &(usize, Pattern)| *by == rule && consumed.matches(&name.name);
                rules.feeding(&other.destination).iter().any(fed)
            };
            for queue in known.cells.iter().filter(consumes) {
                feed(&rules, rule, cell, queue);
            }
        }
        for (rule, consumed) in rules.feeding(name) {
            let feeds = |other: &&Arc<Cell>| {
                rules.virtual_of(&other.destination).contains(&rule)
                    && consumed.matches(&other.destination.name)
            };
            for topic in known.cells.iter().filter(feeds) {
                feed(&rules, rule, topic, cell);
            }
        }
        self.link_shared(known, cell);
    }

    /// Settles the routes from topics to their shared subscriptions that a new destination brings.
    fn link_shared(&self, known: &Known, cell: &Arc<Cell>) {
        let name = &cell.destination;
        match (name.kind, shared::topic_of(name)) {
            (Kind::Queue, Some(topic)) => {
                if let Some(topic) = known.cells.get(&Destination::topic(topic)) {
                    share(topic, cell);
                }
            }
            (Kind::Topic, _) => {
                let queues = known.shared.get(&*name.name).into_iter().flatten();
                for queue in queues.filter_map(|queue| known.cells.get(queue)) {
                    share(cell, queue);
                }
            }
            (Kind::Queue, None) => {}
        }
    }

    fn composite_branches(
        &self,
        rules: &Rules,
        known: &mut Known,
        cell: &Arc<Cell>,
    ) -> Vec<Branch> {
        let origin = &cell.destination;
        let composites = rules.composites_of(origin);
        composites
            .map(|(index, rule)| {
                let routes = rule.forward_to.iter();
                Branch {
                    cause: Cause::Composite(index),
                    keeps: rule.keeps,
                    routes: routes
                        .map(|forward| self.forward(known, origin, rule, forward))
                        .collect(),
                }
            })
            .collect()
    }

    fn forward(
        &self,
        known: &mut Known,
        origin: &Destination,
        rule: &Composite,
        forward: &Forward,
    ) -> Route {
        let target = forward.target(origin);
        let to = match known.cells.get(&target) {
            Some(cell) => Arc::clone(cell),
            None => self.create(known, &target),
        };
        let filter = forward.selector.as_ref().and_then(|text| {
            // Properties of STOMP are strings, so they convert. The configuration was checked.
            let options = SelectorOptions {
                convert_strings: true,
            };
            let selector = Selector::parse(text, options).ok()?;
            let readers = Arc::clone(&self.properties);
            Some(Arc::new(SelectorFilter::new(selector, origin, readers)) as Arc<dyn Filter>)
        });
        Route {
            to,
            filter,
            aware: None,
            tells_origin: rule.tells_origin,
            may_drop: false,
        }
    }
}

/// What is sent to `topic` goes to its shared subscription behind `queue` too.
fn share(topic: &Arc<Cell>, queue: &Arc<Cell>) {
    let route = Route {
        to: Arc::clone(queue),
        filter: None,
        aware: None,
        tells_origin: true,
        may_drop: false,
    };
    topic.routes.add(Cause::Shared, route);
}

/// What is sent to `topic` goes to `queue` too.
fn feed(rules: &Rules, rule: usize, topic: &Arc<Cell>, queue: &Arc<Cell>) {
    let virtual_topic = &rules.virtual_topics[rule];
    let route = Route {
        to: Arc::clone(queue),
        filter: None,
        aware: virtual_topic.selector_aware,
        tells_origin: true,
        may_drop: virtual_topic.drop_on_resource_limit,
    };
    topic.routes.add(Cause::Virtual(rule), route);
}
