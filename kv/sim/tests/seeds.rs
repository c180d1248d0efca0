//! A fixed set of seeds: whole clusters under faults, every invariant looked at.
use hull_kv_sim::World;

#[test]
fn every_invariant_holds_under_twenty_seeds() {
    for seed in 1..=20 {
        if let Err(violation) = World::new(seed).run() {
            panic!("seed {seed}: {violation}; again: hull-kv-sim --seed {seed}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let first = World::new(7).run().expect("holds");
    assert_eq!(World::new(7).run().expect("holds"), first);
    assert_ne!(World::new(8).run().expect("holds").trace, first.trace);
}
