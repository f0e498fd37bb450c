package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // so that they can be decoded
	"image/jpeg"
	_ "image/png"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flowc-dev/flowc/examples/web/album"
	"github.com/flowc-dev/flowc/examples/web/album/processphoto"
	"github.com/flowc-dev/flowc/runtime/handler"
)

// widths are those of thumbnails, as far as a photo is wider.
var widths = []int{1280, 640, 320, 160, 80}

// handlers runs the steps of a photo.
type handlers struct{ db *pgxpool.Pool }

var _ processphoto.Handlers = handlers{}

// Inspect reads the size only. A photo that cannot be read now cannot be read later.
func (h handlers) Inspect(ctx context.Context, in album.Photo) ([]album.Thumbnail, error) {
	file, err := h.photo(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	config, _, err := image.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return nil, handler.Permanent(err)
	}
	var list []album.Thumbnail
	for _, width := range widths {
		if width < config.Width {
			list = append(list, album.Thumbnail{Photo: in.ID, Width: width, Height: max(1, config.Height*width/config.Width)})
		}
	}
	return list, nil
}

// Resize may run twice, if a worker dies between storing and reporting: the second thumbnail
// replaces the first.
func (h handlers) Resize(ctx context.Context, item album.Thumbnail) (album.Stored, error) {
	file, err := h.photo(ctx, item.Photo)
	if err != nil {
		return album.Stored{}, err
	}
	photo, _, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		return album.Stored{}, handler.Permanent(err)
	}
	var small bytes.Buffer
	if err := jpeg.Encode(&small, shrink(photo, item.Width, item.Height), nil); err != nil {
		return album.Stored{}, err
	}
	_, err = h.db.Exec(ctx, `
		INSERT INTO thumbnails (photo_id, width, image) VALUES ($1, $2, $3)
		ON CONFLICT (photo_id, width) DO UPDATE SET image = excluded.image`, item.Photo, item.Width, small.Bytes())
	return album.Stored{Width: item.Width, Bytes: small.Len()}, err
}

// Publish writes in the transaction that completes its step, so that no photo is counted
// twice.
func (h handlers) Publish(ctx context.Context, tx pgx.Tx, in album.PublishInput) (album.Gallery, error) {
	gallery := album.Gallery{Thumbnails: len(in.Resize)}
	for _, stored := range in.Resize {
		gallery.Bytes += stored.Bytes
	}
	if _, err := tx.Exec(ctx, `UPDATE photos SET published = true WHERE id = $1`, in.Input.ID); err != nil {
		return gallery, err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO totals AS t (day, photos, bytes) VALUES (current_date, 1, $1)
		ON CONFLICT (day) DO UPDATE SET photos = t.photos + 1, bytes = t.bytes + excluded.bytes`, gallery.Bytes)
	return gallery, err
}

func (h handlers) photo(ctx context.Context, id int64) (file []byte, err error) {
	err = h.db.QueryRow(ctx, `SELECT image FROM photos WHERE id = $1`, id).Scan(&file)
	if err != nil {
		return nil, fmt.Errorf("photo %d: %w", id, err)
	}
	return file, nil
}

// shrink sets each pixel to the mean of those that it stands for.
func shrink(photo image.Image, width, height int) image.Image {
	from := photo.Bounds()
	small := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		top, bottom := from.Min.Y+y*from.Dy()/height, from.Min.Y+(y+1)*from.Dy()/height
		for x := range width {
			left, right := from.Min.X+x*from.Dx()/width, from.Min.X+(x+1)*from.Dx()/width
			small.Set(x, y, mean(photo, image.Rect(left, top, max(right, left+1), max(bottom, top+1))))
		}
	}
	return small
}

func mean(photo image.Image, part image.Rectangle) color.Color {
	var r, g, b uint64
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			red, green, blue, _ := photo.At(x, y).RGBA()
			r, g, b = r+uint64(red), g+uint64(green), b+uint64(blue)
		}
	}
	n := uint64(part.Dx() * part.Dy())
	return color.RGBA64{uint16(r / n), uint16(g / n), uint16(b / n), 0xffff}
}
