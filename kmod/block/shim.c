// SPDX-License-Identifier: GPL-2.0
/*
 * Static inlines and macros of the kernel that Rust cannot call, one function each, and the proof that the
 * constants that bindgen cannot see (block/ffi.rs) have the values written there.
 */
#include <linux/bio.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/ktime.h>
#include <linux/lockdep.h>
#include <linux/part_stat.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/smp.h>
#include <linux/srcu.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "shim.h"

static_assert((__force u8)BLK_STS_OK == 0);
static_assert((__force u8)BLK_STS_NOTSUPP == 1);
static_assert((__force u8)BLK_STS_NOSPC == 3);
static_assert((__force u8)BLK_STS_RESOURCE == 9);
static_assert((__force u8)BLK_STS_IOERR == 10);
static_assert((__force u32)BLK_OPEN_READ == 1);
static_assert((__force u32)BLK_OPEN_WRITE == 2);
static_assert((__force u32)BLK_FEAT_WRITE_CACHE == 1u << 0);
static_assert((__force u32)BLK_FEAT_FUA == 1u << 1);
static_assert((__force u32)BLK_FEAT_ROTATIONAL == 1u << 2);
static_assert((__force u32)BLK_FEAT_IO_STAT == 1u << 4);
static_assert((__force u32)BLK_FEAT_STABLE_WRITES == 1u << 5);
static_assert((__force u32)BLK_FEAT_NOWAIT == 1u << 7);
static_assert((__force u32)BLK_FEAT_ZONED == 1u << 10);
static_assert((__force u32)GFP_NOIO == (___GFP_DIRECT_RECLAIM | ___GFP_KSWAPD_RECLAIM));

struct module *stor_this_module(void)
{
	return THIS_MODULE;
}

struct gendisk *stor_alloc_disk(struct blk_mq_tag_set *set, struct queue_limits *lim, void *data)
{
	return blk_mq_alloc_disk(set, lim, data);
}

void stor_tag_set_class(struct blk_mq_tag_set *set, struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	lockdep_init_map(&set->srcu->dep_map, "stor_srcu", key, 0);
#endif
}

unsigned int stor_online_cpus(void)
{
	return num_online_cpus();
}

unsigned int stor_noio_save(void)
{
	return memalloc_noio_save();
}

void stor_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}

struct blk_plug *stor_unplug(void)
{
	struct blk_plug *plug = current->plug;

	if (plug) {
		/* Whoever is scheduled away with its time looks for it in the plug. */
		blk_plug_invalidate_ts();
		barrier();
		current->plug = NULL;
	}
	return plug;
}

void stor_replug(struct blk_plug *plug)
{
	current->plug = plug;
}

u64 stor_boottime_ns(void)
{
	return ktime_get_boottime_ns();
}

void stor_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}

void stor_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

void stor_limits_start(struct request_queue *q)
{
	(void)queue_limits_start_update(q);
}

void stor_limits_cancel(struct request_queue *q)
{
	queue_limits_cancel_update(q);
}

bool stor_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

void stor_holder_unlock(struct block_device *bdev)
{
	mutex_unlock(&bdev->bd_holder_lock);
}


void stor_zero_bio(struct bio *bio, unsigned int skip, unsigned int bytes)
{
	struct bvec_iter start = bio->bi_iter, iter;
	struct bio_vec bv;

	bio_advance_iter(bio, &start, skip);
	start.bi_size = bytes;
	__bio_for_each_segment(bv, bio, iter, start)
		memzero_bvec(&bv);
}

unsigned int stor_this_cpu(void)
{
	return raw_smp_processor_id();
}

unsigned int stor_cpu_ids(void)
{
	return nr_cpu_ids;
}

void stor_cond_resched(void)
{
	cond_resched();
}

void stor_init_wait(struct wait_queue_head *head)
{
	init_waitqueue_head(head);
}

void stor_wait(struct wait_queue_head *head, bool (*done)(void *), void *data)
{
	wait_event(*head, done(data));
}

bool stor_wait_for(struct wait_queue_head *head, bool (*done)(void *), void *data, unsigned int milliseconds)
{
	return wait_event_timeout(*head, done(data), msecs_to_jiffies(milliseconds)) > 0;
}

void stor_wake(struct wait_queue_head *head)
{
	wake_up_all(head);
}

struct workqueue_struct *stor_alloc_workqueue(const char *name)
{
	return alloc_workqueue("%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 0, name);
}

void stor_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

bool stor_bdev_has_discard(struct block_device *bdev)
{
	return bdev_max_discard_sectors(bdev) != 0;
}

int stor_discard(struct block_device *bdev, u64 sector, u64 sectors)
{
	return blkdev_issue_discard(bdev, sector, sectors, GFP_NOIO);
}

/* The device may give up the space if it reads as zeros then; zeros are written if it has no command for that. */
/* Ends @parent, which has no data, when zeros have been written to its device. */
void stor_write_zeros(struct bio *parent, u64 sector, u64 sectors)
{
	struct bio *bio = NULL;
	int err = __blkdev_issue_zeroout(parent->bi_bdev, sector, sectors, GFP_NOIO, &bio,
					parent->bi_opf & REQ_NOUNMAP ? BLKDEV_ZERO_NOUNMAP : 0);

	if (bio) {
		bio_chain(bio, parent);
		submit_bio_noacct(bio);
	}
	if (err)
		parent->bi_status = errno_to_blk_status(err);
	bio_endio(parent);
}

/* What was read and written, and how long that took; @time in nanoseconds. */
void stor_bdev_stat(struct block_device *bdev, u64 ended[2], u64 time[2], u32 *under_way)
{
	int way;

	for (way = 0; way < 2; way++) {
		ended[way] = part_stat_read(bdev, ios[way]);
		time[way] = part_stat_read(bdev, nsecs[way]);
	}
	*under_way = bdev_count_inflight(bdev);
}

/* As a request would: false if the queue is frozen. */
bool stor_queue_enter(struct request_queue *q)
{
	return percpu_ref_tryget_live(&q->q_usage_counter);
}

void stor_queue_exit(struct request_queue *q)
{
	percpu_ref_put(&q->q_usage_counter);
}
