//! Volumes: folders of the state partition that outlive the containers that use them, `/var/lib/hull/volumes/<name>`.
//!
//! Their files belong to the ids that containers see, 0 for root: the mount of a container shows them as the ids of its own range.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use hull_oci_core::declaration::Declaration;
use hull_oci_core::oci::config::User;
use hull_oci_core::spec::VOLUMES;

use hull_images::{FolderLike, folder_inside};

/// Mode of a volume that is mounted where the image has no folder.
const MODE: u32 = 0o755;

/// Makes the declared volumes that are not there yet. A new one has owner and mode of the folder that it covers, or belongs to the user
/// that the container runs as.
///
/// # Errors
/// The disk is full or missing. The path is that of the volume.
pub(crate) fn make(declaration: &Declaration, lower: &[PathBuf], user: &User) -> Result<(), (PathBuf, io::Error)> {
    declaration.volumes().try_for_each(|(at, volume)| {
        let folder = Path::new(VOLUMES).join(volume.name);
        make_one(&folder, Path::new(at), lower, user).map_err(|error| (folder, error))
    })
}

fn make_one(folder: &Path, at: &Path, lower: &[PathBuf], user: &User) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    // Under its name only when it is whole: a volume with a wrong owner would stay so.
    let beside = folder.with_file_name(format!(".{}", folder.file_name().unwrap_or_default().display()));
    fs::create_dir_all(&beside)?;
    let like = folder_inside(lower, at.strip_prefix("/").unwrap_or(at));
    let like = like.unwrap_or(FolderLike { uid: user.uid, gid: user.gid, mode: MODE });
    chown(&beside, Some(like.uid), Some(like.gid))?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(like.mode))?;
    match fs::rename(&beside, folder) {
        // Two containers that start at once made it together.
        Err(_) if folder.is_dir() => Ok(()),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_new_volume_is_like_the_folder_that_it_covers_and_an_old_one_stays() {
        let base = std::env::temp_dir().join(format!("hull-volumes-{}", std::process::id()));
        let (layer, volume) = (base.join("layer"), base.join("volumes/db"));
        fs::create_dir_all(layer.join("srv/db")).unwrap();
        fs::set_permissions(layer.join("srv/db"), fs::Permissions::from_mode(0o750)).unwrap();
        let own = fs::metadata(&layer).unwrap();
        let user = User { uid: own.uid(), gid: own.gid(), ..User::default() };
        make_one(&volume, Path::new("/srv/db"), std::slice::from_ref(&layer), &user).unwrap();
        assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o750);
        fs::write(volume.join("row"), "1").unwrap();
        make_one(&volume, Path::new("/elsewhere"), &[layer], &user).unwrap();
        assert_eq!(fs::read_to_string(volume.join("row")).unwrap(), "1");
        assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(fs::read_dir(base.join("volumes")).unwrap().count(), 1);
        fs::remove_dir_all(&base).unwrap();
    }
}
