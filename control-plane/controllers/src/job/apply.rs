//! Makes a plan true: pods, status, finalizers, events.

use client::{
    Error, ObjectKey,
    driver::After,
    refs,
    typed::{Deletion, Propagation},
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
};
use serde_json::json;

use super::{Controller, indexes, plan, plan::Plan, tracking};
use crate::{environment::patch_seen, podcontrol::from_template};

/// Labels that tie a pod to its Job, old and new spelling.
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

impl Controller {
    pub(super) async fn apply(&self, job: &Job, plan: Plan) -> Result<After, Error> {
        if plan.expire {
            let foreground = Some(Propagation::Foreground);
            let deletion = Deletion { propagation: foreground, ..Deletion::of_uid(refs::uid(job)) };
            self.client.delete::<Job>(refs::namespace(job), refs::name(job), &deletion).await?;
            return Ok(After::Change);
        }
        // The status first: a pod may be released only after its UID is written there.
        if job.status.as_ref() != Some(&plan.status) {
            self.client.update_status(&Job { status: Some(plan.status.clone()), ..job.clone() }).await?;
        }
        if let Some((warning, reason, message)) = &plan.event {
            if *warning {
                self.recorder.warning(job, reason, message);
            } else {
                self.recorder.normal(job, reason, message);
            }
        }
        for pod in &plan.release {
            self.release(pod).await?;
        }
        self.control.delete(job, &plan.delete).await?;
        let pods: Vec<Pod> = plan.create.iter().filter_map(|index| new_pod(job, *index)).collect();
        self.control.create(job, &pods).await?;
        Ok(plan.recheck.map_or(After::Change, After::Delay))
    }

    async fn release(&self, pod: &Pod) -> Result<(), Error> {
        let left: Vec<&String> =
            pod.metadata.finalizers.iter().flatten().filter(|f| *f != tracking::FINALIZER).collect();
        match patch_seen(&self.client, pod, json!({"metadata": {"finalizers": left}})).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// The Job is gone: nobody will count its pods any more.
    pub(super) async fn release_abandoned(&self, key: &ObjectKey) -> Result<(), Error> {
        for pod in self.pods.in_namespace(&key.namespace) {
            let owner = refs::controller_of(&pod.metadata);
            let abandoned = owner.is_some_and(|o| o.kind == "Job" && o.name == key.name);
            if abandoned && tracking::is_tracked(&pod) {
                self.release(&pod).await?;
            }
        }
        Ok(())
    }
}

fn new_pod(job: &Job, index: Option<i32>) -> Option<Pod> {
    let template = &job.spec.as_ref()?.template;
    let mut pod = from_template(job, template);
    pod.metadata.finalizers.get_or_insert_default().push(tracking::FINALIZER.to_owned());
    let labels = pod.metadata.labels.get_or_insert_default();
    for (keys, value) in [(UID_LABELS, refs::uid(job)), (NAME_LABELS, refs::name(job))] {
        for key in keys {
            labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    if let Some(index) = index.filter(|_| plan::is_indexed(job)) {
        labels.insert(indexes::INDEX.to_owned(), index.to_string());
        number(&mut pod, job, index);
    }
    Some(pod)
}

/// Name, annotation, host name and environment of one index.
fn number(pod: &mut Pod, job: &Job, index: i32) {
    pod.metadata.generate_name = Some(format!("{}-{index}-", refs::name(job)));
    pod.metadata.annotations.get_or_insert_default().insert(indexes::INDEX.to_owned(), index.to_string());
    let Some(spec) = &mut pod.spec else { return };
    spec.hostname = Some(format!("{}-{index}", refs::name(job)));
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let env = container.env.get_or_insert_default();
        if env.iter().any(|e| e.name == "JOB_COMPLETION_INDEX") {
            continue;
        }
        let field_path = format!("metadata.labels['{}']", indexes::INDEX);
        let field_ref = Some(ObjectFieldSelector { field_path, api_version: None });
        let value_from = Some(EnvVarSource { field_ref, ..EnvVarSource::default() });
        env.push(EnvVar { name: "JOB_COMPLETION_INDEX".to_owned(), value: None, value_from });
    }
}
