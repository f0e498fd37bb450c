// Package album declares what happens to photos in the background.
package album

import "github.com/flowc-dev/flowc/dsl"

//go:generate go tool flowc generate

// ProcessPhoto makes thumbnails of a photo.
type ProcessPhoto struct {
	dsl.Flow[Photo, Gallery] `timeout:"30s"`

	// Inspect finds out how large the photo is, and which thumbnails it gets.
	Inspect dsl.Step[Photo, []Thumbnail]
	// Resize makes one thumbnail and stores it.
	Resize dsl.Map[Thumbnail, Stored]
	// Publish shows the photo, once all its thumbnails are there, and counts it.
	Publish dsl.Step[PublishInput, Gallery] `tx:"pgx"`
}

// PublishInput is what Publish waits for.
type PublishInput struct {
	Input  Photo
	Resize []Stored
}

// Photo is a photo in the table photos.
type Photo struct {
	ID int64 `json:"id"`
}

// Thumbnail is a thumbnail to be made, with its size in pixels.
type Thumbnail struct {
	Photo  int64 `json:"photo"`
	Width  int   `json:"width"`
	Height int   `json:"height"`
}

// Stored is a thumbnail in the table thumbnails.
type Stored struct {
	Width int `json:"width"`
	Bytes int `json:"bytes"`
}

// Gallery is a photo that is shown.
type Gallery struct {
	Thumbnails int `json:"thumbnails"`
	Bytes      int `json:"bytes"`
}
