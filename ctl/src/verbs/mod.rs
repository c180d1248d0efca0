//! Performs one verb.

mod containers;
mod kv;
mod logs;
mod power;
pub(crate) mod update;

use crate::args::{Cli, Image, Service, Update, Verb};
use crate::failure::Failure;
use crate::place::Place;
use crate::screen::Screen;
use crate::{console, status};
use hull_init_core::control::{self, Request, SwapFrom};

/// Performs the verb of `cli`.
pub(crate) fn perform(cli: &Cli, screen: &mut Screen) -> Result<(), Failure> {
    let place = Place::of(cli.endpoint.as_deref());
    match &cli.verb {
        Verb::Status => status::show(&place, screen),
        Verb::Logs(wanted) => logs::show(&place, wanted, screen),
        Verb::Ps => containers::list(&place, screen),
        Verb::Run(run) => containers::run(&place, run, screen),
        Verb::Stop { name } => containers::stop(&place, name, screen),
        Verb::Image(Image::Load { archive, name }) => containers::load(&place, archive, name.as_deref(), screen),
        Verb::Image(Image::Ls) => containers::images(&place, screen),
        Verb::Update(Update::Stage { release }) => update::stage(&place, release, screen),
        Verb::Update(Update::Swap { force }) => {
            let from = if *force { SwapFrom::Whatever } else { SwapFrom::Healthy };
            update::swap(&place, from, screen)
        }
        Verb::Update(Update::Status) => update::status(&place, screen),
        Verb::Service(Service::Restart { name }) => power::restart(&place, name, screen),
        Verb::Kv(wanted) => kv::perform(&place, wanted, screen),
        Verb::Reboot => power::ask(&place, "reboot", &Request::Reboot, screen),
        Verb::Poweroff => power::ask(&place, "power off", &Request::Poweroff, screen),
        Verb::Console => console::run(),
    }
}

/// A name as PID 1 takes it.
///
/// # Errors
/// It is longer than any name PID 1 knows.
fn name(operation: &str, name: &str) -> Result<control::Name, Failure> {
    control::Name::try_from(name).map_err(|_| {
        Failure::new(operation, name, "no service has so long a name", "`hullctl status` lists the services")
    })
}
