/* SPDX-License-Identifier: Apache-2.0 */
#include "shm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "fs.h"

#define SHM_DIR "/dev/shm/." /* also where it is a symbolic link */
#define SEMAPHORE_PREFIX                                                                           \
	"sem.vmctl-" /* sem_open("/vmctl-...") makes this file, see shm_overview(7) */
#define NOTE_PREFIX "vmctl-"
#define NOTE_SUFFIX ".root"

enum { NOTE_MAX = PATH_MAX + 64, NOTE_NAME_SIZE = VM_ID_LEN + 16 };

static char *note_name(const char *root_id, char buf[NOTE_NAME_SIZE])
{
	snprintf(buf, NOTE_NAME_SIZE, NOTE_PREFIX "%s" NOTE_SUFFIX, root_id);
	return buf;
}

/* A file without a name gets its content and then the name: nobody ever reads half a note. */
static int publish_note(int shm_fd, const char *name, const char *text, struct vm_err *err)
{
	VM_AUTO_CLOSE int fd = openat(shm_fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	size_t len = strlen(text);
	char self[40];

	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		return vm_fs_fail(shm_fd, name, "writing", err);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (vm_fault(VM_FAULT_SHM_NOTE) ||
	    (linkat(AT_FDCWD, self, shm_fd, name, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST) ||
	    vm_fault(VM_FAULT_SHM_NOTE_DONE))
		return vm_fs_fail(shm_fd, name, "creating", err);
	return 0; /* of two who note the same at once, one was faster */
}

int vm_shm_note(const char *root_id, int run_fd, struct vm_err *err)
{
	VM_AUTO_CLOSE int shm_fd = vm_fs_open_dir(AT_FDCWD, SHM_DIR, err);
	VM_AUTO_FREE char *before = NULL;
	char name[NOTE_NAME_SIZE], path[PATH_MAX], text[NOTE_MAX];
	struct vm_err ignored = {0};
	struct stat st;
	size_t len;

	if (shm_fd < 0)
		return -1;
	if (fstat(run_fd, &st) < 0)
		return vm_err_sys(err, "looking at the data root");
	snprintf(text, sizeof(text), "%ju %ju %s\n", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
	         vm_fs_path(run_fd, NULL, path, sizeof(path)));
	note_name(root_id, name);
	if (vm_fs_read(shm_fd, name, NOTE_MAX, &before, &len, &ignored) == 0) {
		if (strcmp(before, text) == 0)
			return 0;
		/* The data root has been moved. */
		if (vm_fs_unlink(shm_fd, name, err) < 0)
			return -1;
	}
	return publish_note(shm_fd, name, text, err);
}

/* Whether the note names a directory that is still there. No note: no. */
static bool is_alive(int shm_fd, const char *root_id)
{
	VM_AUTO_FREE char *text = NULL;
	char name[NOTE_NAME_SIZE];
	struct vm_err err = {0};
	uintmax_t device, inode;
	struct stat st;
	size_t len;
	int at = 0;

	if (vm_fs_read(shm_fd, note_name(root_id, name), NOTE_MAX, &text, &len, &err) < 0)
		return err.code != VM_ERR_NOT_FOUND; /* not to be read: not to be judged */
	if (sscanf(text, "%ju %ju %n", &device, &inode, &at) != 2 || at == 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	if (stat(text + at, &st) < 0)
		return errno != ENOENT && errno != ENOTDIR;
	return st.st_dev == device && st.st_ino == inode;
}

/* The root id in the name of a file of ours. */
static bool id_of(const char *file, char ret_id[VM_ID_LEN + 1])
{
	size_t prefix = 0, end;

	if (strncmp(file, SEMAPHORE_PREFIX, strlen(SEMAPHORE_PREFIX)) == 0)
		prefix = strlen(SEMAPHORE_PREFIX);
	else if (strncmp(file, NOTE_PREFIX, strlen(NOTE_PREFIX)) == 0)
		prefix = strlen(NOTE_PREFIX);
	end = prefix + VM_ID_LEN;
	if (prefix == 0 || strlen(file) <= end)
		return false;
	memcpy(ret_id, file + prefix, VM_ID_LEN);
	ret_id[VM_ID_LEN] = '\0';
	return vm_id_valid(ret_id) && (file[end] == '-' || strcmp(file + end, NOTE_SUFFIX) == 0);
}

struct dead {
	const char *own_id;
	char (*list)[VM_ID_LEN + 1];
	size_t count;
};

static int consider(void *ctx, int shm_fd, const char *file, struct vm_err *err)
{
	char id[VM_ID_LEN + 1];
	struct dead *dead = ctx;
	struct stat st;
	void *more;

	if (!id_of(file, id) || (dead->own_id && strcmp(id, dead->own_id) == 0) ||
	    fstatat(shm_fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (geteuid() != 0 && st.st_uid != geteuid()) || is_alive(shm_fd, id))
		return 0;
	for (size_t i = 0; i < dead->count; i++) {
		if (strcmp(dead->list[i], id) == 0)
			return 0;
	}
	more = realloc(dead->list, (dead->count + 1) * sizeof(*dead->list));
	if (!more)
		return vm_err_sys(err, "listing " SHM_DIR);
	dead->list = more;
	memcpy(dead->list[dead->count++], id, VM_ID_LEN + 1);
	return 0;
}

int vm_shm_dead_roots(const char *own_id, char (**ret)[VM_ID_LEN + 1], size_t *ret_count,
                      struct vm_err *err)
{
	struct dead dead = {.own_id = own_id};

	if (vm_fs_each(AT_FDCWD, SHM_DIR, consider, &dead, err) < 0) {
		free(dead.list);
		return -1;
	}
	*ret = dead.list;
	*ret_count = dead.count;
	return 0;
}

static int remove_file(int shm_fd, const char *file, struct vm_err *err)
{
	if (vm_fault(VM_FAULT_SHM_REMOVE) || (unlinkat(shm_fd, file, 0) < 0 && errno != ENOENT) ||
	    vm_fault(VM_FAULT_SHM_REMOVE_DONE))
		return vm_fs_fail(shm_fd, file, "removing", err);
	return 0;
}

static int remove_semaphore(void *ctx, int shm_fd, const char *file, struct vm_err *err)
{
	const char *root_id = ctx;
	char id[VM_ID_LEN + 1];

	if (!id_of(file, id) || strcmp(id, root_id) != 0 || strncmp(file, "sem.", 4) != 0)
		return 0;
	return remove_file(shm_fd, file, err);
}

int vm_shm_remove(const char *root_id, struct vm_err *err)
{
	char name[NOTE_NAME_SIZE], id[VM_ID_LEN + 1];
	VM_AUTO_CLOSE int shm_fd = vm_fs_open_dir(AT_FDCWD, SHM_DIR, err);

	if (shm_fd < 0)
		return -1;
	snprintf(id, sizeof(id), "%s", root_id);
	if (vm_fs_each(AT_FDCWD, SHM_DIR, remove_semaphore, id, err) < 0)
		return -1;
	return remove_file(shm_fd, note_name(root_id, name), err);
}
