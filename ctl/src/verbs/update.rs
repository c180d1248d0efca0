//! Verbs of the swap: stage a release, jump into it, look at the slots.

use crate::failure::Failure;
use crate::format::{cell, table, toned, wrap};
use crate::pid1;
use crate::place::Place;
use crate::progress::Progress;
use crate::screen::{Screen, Tone};
use crate::status::json::slots as slots_value;
use hull_init_core::control::{self, Request, Response, Slot, SlotContent, SlotUsage, SwapFrom};
use serde_json::json;
use std::path::Path;

/// Verifies a release and writes it to the unused slot.
pub(crate) fn stage(place: &Place, release: &Path, screen: &mut Screen) -> Result<(), Failure> {
    let object = format!("release {}", release.display());
    place.need_node("stage", &object)?;
    // PID 1 has its own working directory: it needs the whole path.
    let absolute = std::path::absolute(release)
        .map_err(|error| Failure::new("stage", &*object, error, "name a directory on the node"))?;
    let path = absolute.to_str().and_then(|text| control::Path::try_from(text).ok()).ok_or_else(|| {
        Failure::new("stage", &*object, "the path is too long or not UTF-8", "move the release to a shorter path")
    })?;
    follow(&Request::UpdateStage { path }, screen)?;
    screen.show(&json!({ "staged": absolute.display().to_string() }), |_| {
        format!("{object}: verified and staged; `hullctl update swap` jumps into it\n")
    })
}

/// Jumps into the staged slot.
pub(crate) fn swap(place: &Place, from: SwapFrom, screen: &mut Screen) -> Result<(), Failure> {
    place.need_node("swap to", "the staged slot")?;
    follow(&Request::UpdateSwap { from }, screen)?;
    screen.show(&json!({ "operation": "swap", "accepted": true }), |_| {
        "swap: PID 1 stops everything in order and jumps; `hullctl update status` tells how it went\n".to_owned()
    })
}

/// Shows both slots.
pub(crate) fn status(place: &Place, screen: &mut Screen) -> Result<(), Failure> {
    place.need_node("look at", "the slots")?;
    let slots = slots()?;
    screen.show(&slots_value(&slots), |screen| text(&slots, screen))
}

/// What PID 1 knows of the slots.
pub(crate) fn slots() -> Result<Vec<Slot>, Failure> {
    let mut slots = Vec::new();
    pid1::ask(&Request::UpdateStatus)?.each(|response| {
        if let Response::Slot(slot) = response {
            slots.push(slot);
        }
        Ok(())
    })?;
    Ok(slots)
}

fn follow(request: &Request, screen: &Screen) -> Result<(), Failure> {
    let mut progress = Progress::new(screen.columns);
    pid1::ask(request)?.each(|response| {
        if let Response::Progress(now) = response {
            progress.report(&now.step, now.done, now.total);
        }
        Ok(())
    })
}

fn text(slots: &[Slot], screen: &Screen) -> String {
    if slots.is_empty() {
        return "no slots: this node has no disk of Hull's\n".to_owned();
    }
    let row = |slot: &Slot| {
        let (tone, state) = match slot.content {
            SlotContent::Empty => (Tone::Faint, "empty".to_owned()),
            SlotContent::Staged { tries } => (Tone::Warn, format!("staged, {tries} left")),
            SlotContent::Trying { tries } => (Tone::Warn, format!("trying, {tries} left")),
            SlotContent::Good => (Tone::Good, "good".to_owned()),
            SlotContent::Bad => (Tone::Bad, "bad".to_owned()),
        };
        let usage = match slot.usage {
            SlotUsage::Running => "running",
            SlotUsage::Idle => "",
        };
        let hash = slot.root_hash.get(..12).unwrap_or(&slot.root_hash);
        let version = if slot.version.is_empty() { "-" } else { slot.version.as_str() };
        vec![
            cell(slot.slot.to_string()),
            toned(tone, state),
            cell(version),
            cell(hash),
            cell(slot.priority.to_string()),
            cell(usage),
        ]
    };
    let heading = ["SLOT", "STATE", "VERSION", "ROOT", "PRIORITY", ""];
    let mut rows = vec![heading.map(|title| toned(Tone::Faint, title)).into_iter().collect::<Vec<_>>()];
    rows.extend(slots.iter().map(row));
    let mut out = table(&rows, 0, screen.columns, screen.paint);
    for slot in slots.iter().filter(|slot| !slot.reason.is_empty()) {
        out += &wrap(&format!("slot {}: {}", slot.slot, slot.reason), 0, screen.columns);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Output;
    use crate::screen::Paint;
    use hull_init_core::control::{SlotName, cut, line};

    #[test]
    fn both_slots_are_shown_with_the_reason_of_the_bad_one() {
        let slot = |name, content, usage, reason: &str| Slot {
            slot: name,
            content,
            priority: 2,
            usage,
            version: cut("0.1.0"),
            root_hash: cut("0123456789abcdef"),
            reason: line(reason),
        };
        let slots = [
            slot(SlotName::A, SlotContent::Good, SlotUsage::Running, ""),
            slot(SlotName::B, SlotContent::Bad, SlotUsage::Idle, "kv was not ready within 60 s"),
        ];
        let screen = Screen { output: Output::Text, paint: Paint::Plain, columns: 80 };
        assert_eq!(
            text(&slots, &screen),
            "SLOT  STATE  VERSION  ROOT          PRIORITY\n\
             a     good   0.1.0    0123456789ab  2         running\n\
             b     bad    0.1.0    0123456789ab  2\n\
             slot b: kv was not ready within 60 s\n"
        );
    }
}
