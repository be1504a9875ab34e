/* SPDX-License-Identifier: GPL-2.0 */
#ifndef STOR_SHIM_H
#define STOR_SHIM_H

#include <linux/types.h>
#include <linux/workqueue.h>

struct bio;
struct blk_mq_tag_set;
struct block_device;
struct gendisk;
struct lock_class_key;
struct queue_limits;
struct request_queue;
struct wait_queue_head;

struct module *stor_this_module(void);
struct gendisk *stor_alloc_disk(struct blk_mq_tag_set *set, struct queue_limits *lim, void *data);
void stor_tag_set_class(struct blk_mq_tag_set *set, struct lock_class_key *key);
unsigned int stor_online_cpus(void);
unsigned int stor_noio_save(void);
void stor_noio_restore(unsigned int flags);
struct blk_plug *stor_unplug(void);
void stor_replug(struct blk_plug *plug);
u64 stor_boottime_ns(void);
void stor_synchronize_rcu_tasks(void);
void stor_init_work(struct work_struct *work, work_func_t func);
void stor_limits_start(struct request_queue *q);
void stor_limits_cancel(struct request_queue *q);
bool stor_bdev_read_only(struct block_device *bdev);
void stor_holder_unlock(struct block_device *bdev);
void stor_zero_bio(struct bio *bio, unsigned int skip, unsigned int bytes);
unsigned int stor_this_cpu(void);
unsigned int stor_cpu_ids(void);
void stor_cond_resched(void);
void stor_init_wait(struct wait_queue_head *head);
void stor_wait(struct wait_queue_head *head, bool (*done)(void *), void *data);
bool stor_wait_for(struct wait_queue_head *head, bool (*done)(void *), void *data, unsigned int milliseconds);
void stor_wake(struct wait_queue_head *head);
struct workqueue_struct *stor_alloc_workqueue(const char *name);
void stor_init_delayed_work(struct delayed_work *work, work_func_t func);
bool stor_bdev_has_discard(struct block_device *bdev);
int stor_discard(struct block_device *bdev, u64 sector, u64 sectors);
bool stor_queue_enter(struct request_queue *q);
void stor_queue_exit(struct request_queue *q);
void stor_bdev_stat(struct block_device *bdev, u64 ended[2], u64 time[2], u32 *under_way);
void stor_write_zeros(struct bio *parent, u64 sector, u64 sectors);

#endif
