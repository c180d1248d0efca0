//! Alarms: conditions that a member raised and somebody must lower. NOSPACE makes the store refuse what needs space, CORRUPT
//! whatever changes data.
use hull_kv_proto::etcdserverpb::{AlarmMember, AlarmType};

/// The alarms that are up, in the order of member and kind.
#[derive(Debug, Clone, Default)]
pub struct Alarms {
    up: Vec<AlarmMember>,
}

impl Alarms {
    /// Raises an alarm; answers it, raised now or before.
    pub(crate) fn raise(&mut self, member_id: u64, alarm: i32) -> AlarmMember {
        let member = AlarmMember { member_id, alarm };
        if !self.up.contains(&member) {
            self.up.push(member);
            self.up.sort_by_key(|m| (m.member_id, m.alarm));
        }
        member
    }

    /// Lowers an alarm; answers it if it was up.
    pub(crate) fn lower(&mut self, member_id: u64, alarm: i32) -> Option<AlarmMember> {
        let at = self.up.iter().position(|m| m.member_id == member_id && m.alarm == alarm)?;
        Some(self.up.remove(at))
    }

    /// Alarms of one kind; kind 0 (`NONE`) means every kind.
    pub fn of_kind(&self, alarm: i32) -> Vec<AlarmMember> {
        self.up.iter().filter(|m| alarm == AlarmType::None as i32 || m.alarm == alarm).copied().collect()
    }

    /// Whether any member ran out of space.
    pub fn no_space(&self) -> bool {
        self.is_up(AlarmType::Nospace)
    }

    /// Whether somebody found that members hold different data.
    pub(crate) fn corrupt(&self) -> bool {
        self.is_up(AlarmType::Corrupt)
    }

    fn is_up(&self, alarm: AlarmType) -> bool {
        self.up.iter().any(|m| m.alarm == alarm as i32)
    }

    /// All of them.
    pub fn all(&self) -> &[AlarmMember] {
        &self.up
    }

    pub(crate) fn restore(up: Vec<AlarmMember>) -> Self {
        Self { up }
    }
}
