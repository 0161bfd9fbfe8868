//! What piles up: images and logs. Dead containers are removed by their pods' plans.

pub mod images;
pub mod logs;
