/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/adopt*.c. */
#ifndef VM_ADOPT_IMPL_H
#define VM_ADOPT_IMPL_H

#include "adopt.h"
#include "driver/driver.h"

/*
 * The one directory that all files lie in which a load opens: drives and the vsock's socket.
 * Errors: unsupported (there are several, or a path is not absolute, or too long).
 */
int vm_adopt_recorded_directory(const struct vm_state_info *info, char ret[VM_ALIAS_PATH_MAX + 1],
                                struct vm_err *err);
/*
 * Links of the recorded names to our files, in the image's directory; of the socket, which the VMM
 * makes under its recorded name, the other way round. Disks of the state and of the spec are in the
 * same order. Errors: unsupported (a recorded name is that of another file of ours).
 */
int vm_adopt_link_recorded(const struct vm_state_info *info, const struct vm_spec *spec, int dir_fd,
                           struct vm_err *err);

#endif
